//! The DAG of an environment.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lenient;
use crate::records::Record;
use crate::{NodeType, SourceType};

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
    /// The audits with their details, in the order in which the user wrote them; one may be there several times, with other
    /// arguments. Of a standalone audit, itself. Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::nested", skip_serializing_if = "Vec::is_empty")]
    pub audits: Vec<DagAudit>,
    #[serde(rename = "type")]
    pub node_type: NodeType,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
    /// When the model is due. Not in Tobiko Cloud's answers; a local cloud may say it.
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
}

/// An audit as a model uses it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DagAudit {
    /// One of the node's `audit_names`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// As a person reads them, in the words of [`AuditEvaluation::args`](crate::AuditEvaluation::args).
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    #[serde(deserialize_with = "lenient::some_flag", skip_serializing_if = "Option::is_none")]
    pub blocking: Option<bool>,
    /// As it is written, with its macros.
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl DagNode {
    /// A standalone audit, which is no asset.
    pub fn is_audit(&self) -> bool {
        self.node_type == NodeType::Audit
    }
}

impl Record for DagNode {
    const KIND: &'static str = "a node";
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Record for DagAudit {
    const KIND: &'static str = "an audit";
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Record for Dag {
    const KIND: &'static str = "a DAG";
    fn is_named(&self) -> bool {
        !self.environment.is_empty() || !self.nodes.is_empty()
    }
}
