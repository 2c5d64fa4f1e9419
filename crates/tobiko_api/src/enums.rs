//! The enumerations of the API. A value that is unknown here is kept as text.
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::lenient;

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant,)+
            /// A value that this version does not know, as received; empty when it was missing.
            Unknown(String),
        }

        impl $name {
            /// The value that the API uses.
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $text,)+
                    $name::Unknown(text) => text,
                }
            }
        }

        impl From<Cow<'_, str>> for $name {
            fn from(text: Cow<'_, str>) -> Self {
                match &*text {
                    $($text => $name::$variant,)+
                    _ => $name::Unknown(text.into_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Cow::<str>::Owned(text).into()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::Unknown(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                lenient::any_text(deserializer).map($name::from)
            }
        }
    };
}

text_enum!(
    /// State of a run, an evaluation or an audit.
    Status {
        Scheduled = "scheduled",
        InProgress = "in_progress",
        Skipped = "skipped",
        Success = "success",
        Failed = "failed",
        Preempted = "preempted",
        Aborted = "aborted",
    }
);

text_enum!(
    /// What a node's code is.
    SourceType {
        Sql = "sql",
        Seed = "seed",
        Python = "python",
        External = "external",
        Audit = "audit",
    }
);

text_enum!(
    /// A model, or a standalone audit.
    NodeType { Model = "model", Audit = "audit" }
);

impl Status {
    /// All but `scheduled`, `in_progress` and what this version does not know.
    pub fn is_final(&self) -> bool {
        !matches!(self, Status::Scheduled | Status::InProgress | Status::Unknown(_))
    }

    /// `success` or `skipped`.
    pub fn is_good(&self) -> bool {
        matches!(self, Status::Success | Status::Skipped)
    }
}
