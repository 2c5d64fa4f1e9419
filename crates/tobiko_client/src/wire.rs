//! The types of the V1 API, read leniently: unknown fields are ignored, unknown enum values are kept, and a record is only
//! lost when it lacks what names it. Here are facts of one record; what they mean for a task is decided elsewhere.
use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lenient::{self, Record};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant,)+
            /// A value that this version does not know, as it came; empty when it was missing.
            Unknown(String),
        }

        impl $name {
            /// The word that the API uses.
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

/// The nodes of an environment, and when its scheduler runs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dag {
    #[serde(deserialize_with = "lenient::text")]
    pub environment: String,
    #[serde(deserialize_with = "lenient::time")]
    pub start_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::integer")]
    pub schedule_seconds: Option<i64>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub schedule_cron: Option<String>,
    #[serde(deserialize_with = "lenient::nested")]
    pub nodes: Vec<DagNode>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
}

/// A model or a standalone audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DagNode {
    /// Fully qualified and quoted, as evaluations name it.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// As the user wrote it.
    #[serde(deserialize_with = "lenient::text")]
    pub model_name: String,
    #[serde(deserialize_with = "lenient::some_text")]
    pub description: Option<String>,
    pub source_type: SourceType,
    #[serde(deserialize_with = "lenient::texts")]
    pub tags: Vec<String>,
    /// May name nodes that the DAG does not hold. For a standalone audit: what it checks.
    #[serde(deserialize_with = "lenient::texts")]
    pub parent_names: Vec<String>,
    #[serde(deserialize_with = "lenient::texts")]
    pub audit_names: Vec<String>,
    #[serde(rename = "type")]
    pub node_type: NodeType,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
}

/// One run of the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    #[serde(deserialize_with = "lenient::text")]
    pub environment: String,
    #[serde(deserialize_with = "lenient::text")]
    pub run_id: String,
    #[serde(deserialize_with = "lenient::time")]
    pub start_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    pub end_at: Option<Timestamp>,
    /// Never blank.
    #[serde(deserialize_with = "lenient::some_text")]
    pub error_message: Option<String>,
    pub status: Status,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
}

/// What was done for one node (one batch of it), in a run or by a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    #[serde(deserialize_with = "lenient::text")]
    pub evaluation_id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub node_name: String,
    #[serde(deserialize_with = "lenient::some_text")]
    pub run_id: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub plan_id: Option<String>,
    #[serde(deserialize_with = "lenient::time")]
    pub start_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    pub end_at: Option<Timestamp>,
    /// Never blank.
    #[serde(deserialize_with = "lenient::some_text")]
    pub error_message: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub log: Option<String>,
    pub status: Status,
    /// The debugger view.
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub log_link: Option<String>,
    #[serde(deserialize_with = "lenient::nested")]
    pub audits: Vec<AuditEvaluation>,
}

/// One audit's result in an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditEvaluation {
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    #[serde(deserialize_with = "lenient::time")]
    pub execution_time: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    pub interval_start: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    pub interval_end: Option<Timestamp>,
    pub status: Status,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub log_link: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub log: Option<String>,
}

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

impl DagNode {
    /// A standalone audit, which is no asset.
    pub fn is_audit(&self) -> bool {
        self.node_type == NodeType::Audit
    }
}

impl Run {
    /// It has `end_at` or a final status.
    pub fn ended(&self) -> bool {
        self.end_at.is_some() || self.status.is_final()
    }

    /// Ended, as `success` or `skipped`, without an error message.
    pub fn ended_well(&self) -> bool {
        self.status.is_good() && self.error_message.is_none()
    }
}

impl Evaluation {
    /// It has `end_at` or a final status.
    pub fn ended(&self) -> bool {
        self.end_at.is_some() || self.status.is_final()
    }

    /// By status or by message.
    pub fn failed(&self) -> bool {
        self.status == Status::Failed || self.error_message.is_some()
    }

    /// Ended, as `success` or `skipped`, without an error message.
    pub fn ended_well(&self) -> bool {
        self.status.is_good() && self.error_message.is_none()
    }
}

impl AuditEvaluation {
    pub fn passed(&self) -> bool {
        self.status == Status::Success
    }
}

impl Record for Dag {
    const KIND: &'static str = "a DAG";
    fn is_named(&self) -> bool {
        !self.environment.is_empty() || !self.nodes.is_empty()
    }
}

impl Record for DagNode {
    const KIND: &'static str = "a node";
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Record for Run {
    const KIND: &'static str = "a run";
    fn is_named(&self) -> bool {
        !self.run_id.is_empty()
    }
}

impl Record for Evaluation {
    const KIND: &'static str = "an evaluation";
    fn is_named(&self) -> bool {
        !self.evaluation_id.is_empty() && !self.node_name.is_empty()
    }
}

impl Record for AuditEvaluation {
    const KIND: &'static str = "an audit's result";
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}
