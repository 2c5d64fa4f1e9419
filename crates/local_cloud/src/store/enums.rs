//! The enumerations that the recorder, the database and the API share. Closed, unlike those of `tobiko_api`: a client must
//! survive values that it does not know, but a server refuses them.

/// An enum of texts: the same on the wire and in the database.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[serde(rename = $text)] $variant,)+
        }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
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
                    $($text => Ok(Self::$variant),)+
                    other => Err(rusqlite::types::FromSqlError::Other(format!("{other:?} is not a {}", stringify!($name)).into())),
                }
            }
        }
    };
}

text_enum!(
    /// What made an evaluation.
    Kind { Run = "run", Plan = "plan" }
);
text_enum!(
    /// State of a run, a plan, an evaluation or an audit.
    Status {
        Scheduled = "scheduled", InProgress = "in_progress", Skipped = "skipped", Success = "success",
        Failed = "failed", Preempted = "preempted", Aborted = "aborted",
    }
);
text_enum!(
    /// What a node's code is.
    SourceType { Sql = "sql", Seed = "seed", Python = "python", External = "external", Audit = "audit" }
);
text_enum!(
    /// A model, or a standalone audit.
    NodeType { Model = "model", Audit = "audit" }
);

impl Status {
    /// All but `scheduled` and `in_progress`.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Scheduled | Self::InProgress)
    }
}
