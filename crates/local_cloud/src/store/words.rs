//! The closed sets of words that the API and the database share.

/// An enum whose values are words: the same on the wire and in the database, and no others.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(rusqlite::types::FromSqlError::Other(format!("{other:?} is no {}", stringify!($name)).into())),
                }
            }
        }
    };
}

words!(
    /// What made an evaluation.
    Kind { Run = "run", Plan = "plan" }
);
words!(
    /// State of a run, a plan, an evaluation or an audit.
    Status {
        Scheduled = "scheduled", InProgress = "in_progress", Skipped = "skipped", Success = "success",
        Failed = "failed", Preempted = "preempted", Aborted = "aborted",
    }
);
words!(
    /// What a node's code is.
    SourceType { Sql = "sql", Seed = "seed", Python = "python", External = "external", Audit = "audit" }
);
words!(
    /// A model, or a standalone audit.
    NodeType { Model = "model", Audit = "audit" }
);

impl Status {
    /// All but `scheduled` and `in_progress`.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Scheduled | Self::InProgress)
    }
}
