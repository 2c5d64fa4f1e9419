//! The recorder's events: one JSON object a line, each with `id`, `at` and `type`.

use serde::Deserialize;
use serde_json::Value;

use crate::store::{Kind, Node, NodeAudit, NodeType, SourceType, Status};
use crate::timestamp::Timestamp;

/// Something that happened in the user's SQLMesh process.
#[derive(Debug)]
pub(crate) struct Event {
    pub id: String,
    /// When it happened there.
    pub at: Timestamp,
    pub source: Source,
    pub body: EventBody,
}

/// The SQLMesh project that an event comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Source {
    /// Empty: it has no name.
    pub project: String,
    /// Whether a person gave it the name, rather than the recorder.
    pub project_is_named: bool,
    /// Identifies SQLMesh's state database; missing from old recorders.
    pub state: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum EventBody {
    Environment(Box<NewEnvironment>),
    PlanStarted { plan_id: String, environment: String },
    PlanEnded(Ended),
    RunStarted { run_id: String, environment: String },
    RunEnded(Ended),
    EvaluationScheduled(Batch),
    EvaluationStarted(Batch),
    Audit(AuditResult),
    EvaluationEnded(EvaluationEnd),
    Heartbeat(Owner),
    Due(Due),
    EnvironmentDeleted { environment: String },
}

/// The DAG of an environment that a plan has finalized.
#[derive(Debug, Deserialize)]
pub(crate) struct NewEnvironment {
    pub environment: String,
    pub plan_id: Option<String>,
    pub start_at: Option<Timestamp>,
    pub schedule_cron: Option<String>,
    pub schedule_seconds: Option<i64>,
    pub nodes: Vec<NewNode>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewNode {
    name: String,
    version: Option<String>,
    model_name: Option<String>,
    description: Option<String>,
    source_type: SourceType,
    #[serde(rename = "type")]
    node_type: NodeType,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    parent_names: Vec<String>,
    #[serde(default)]
    audit_names: Vec<String>,
    /// The same with details: [`NodeAudit`]s. What cannot be read as one does not make the environment unreadable.
    audits: Option<Value>,
    cron: Option<String>,
}

/// Names the run or the plan that an event belongs to.
#[derive(Debug, Deserialize)]
pub(crate) struct Owner {
    run_id: Option<String>,
    plan_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    #[serde(flatten)]
    pub owner: Owner,
    pub environment: String,
    pub status: Status,
    pub error_message: Option<String>,
}

/// The nodes that a run intends to evaluate.
#[derive(Debug, Deserialize)]
pub(crate) struct Due {
    #[serde(flatten)]
    pub owner: Owner,
    pub environment: String,
    pub node_names: Vec<String>,
}

/// One batch of one node.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(flatten)]
    pub owner: Owner,
    pub evaluation_id: String,
    pub environment: String,
    pub node_name: String,
    pub version: Option<String>,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    /// Nothing is loaded, only audited.
    #[serde(default)]
    pub only_audits: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AuditResult {
    pub evaluation_id: String,
    pub name: String,
    /// Whatever the recorder makes of the audit's arguments.
    pub args: Option<Value>,
    pub status: Status,
    #[serde(default)]
    pub blocking: bool,
    pub count: Option<i64>,
    pub execution_time: Option<Timestamp>,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    /// The query that ran.
    pub log: Option<String>,
    pub duration_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EvaluationEnd {
    pub evaluation_id: String,
    pub status: Status,
    pub error_message: Option<String>,
    pub log: Option<String>,
    /// Nothing was loaded, only audited.
    #[serde(default)]
    pub only_audits: bool,
    /// As the engine counts them.
    pub rows_processed: Option<i64>,
}

/// A line that this version cannot read as an event.
#[derive(Debug)]
pub(crate) struct InvalidEvent {
    pub id: Option<String>,
    pub reason: String,
}

impl Event {
    pub fn parse(line: &str) -> Result<Self, InvalidEvent> {
        let value = serde_json::from_str(line).or_else(|_| serde_json::from_str(&without_lone_surrogates(line)));
        let value: Value =
            value.map_err(|error| InvalidEvent { id: None, reason: format!("not a JSON object: {error}") })?;
        let id = value.get("id").and_then(Value::as_str);
        let refused = |reason: String| InvalidEvent { id: id.map(str::to_owned), reason };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(refused("\"id\" is missing".to_owned()));
        };
        let at = value.get("at").and_then(Value::as_str);
        let Some(at) = at.and_then(Timestamp::parse) else {
            return Err(refused("\"at\" is missing or not a time in ISO 8601".to_owned()));
        };
        let source = Source::deserialize(&value).map_err(|error| refused(error.to_string()))?;
        let body = EventBody::deserialize(&value).map_err(|error| refused(error.to_string()))?;
        Ok(Self { id: id.to_owned(), at, source, body })
    }
}

impl Owner {
    /// `None` unless there is exactly one.
    pub fn get(&self) -> Option<(Kind, &str)> {
        match (&self.run_id, &self.plan_id) {
            (Some(id), None) => Some((Kind::Run, id)),
            (None, Some(id)) => Some((Kind::Plan, id)),
            _ => None,
        }
    }
}

impl From<NewNode> for Node {
    fn from(seen: NewNode) -> Self {
        Self {
            version: seen.version.unwrap_or_default(),
            model_name: seen.model_name.unwrap_or_else(|| seen.name.clone()),
            name: seen.name,
            description: seen.description,
            source_type: seen.source_type,
            node_type: seen.node_type,
            tags: seen.tags,
            parent_names: seen.parent_names,
            audit_names: seen.audit_names,
            audits: audits(seen.audits),
            cron: seen.cron,
        }
    }
}

fn audits(list: Option<Value>) -> Vec<NodeAudit> {
    let Some(Value::Array(list)) = list else { return Vec::new() };
    list.into_iter().filter_map(|audit| serde_json::from_value(audit).ok()).collect()
}

/// Python writes bytes that it could not decode as halves of surrogate pairs, which no other JSON reader accepts: they become
/// replacement characters, so that a message with one broken byte still ends its evaluation.
fn without_lone_surrogates(line: &str) -> String {
    let (mut mended, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let (kept, length) = match (code_unit(escape), escape.get(6..).and_then(code_unit)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => (&escape[..12], 12),
            (Some(0xD800..0xE000), _) => ("\\ufffd", 6),
            (Some(_), _) => (&escape[..6], 6),
            // The backslash and what it stands before.
            (None, _) => {
                let length = escape.char_indices().nth(2).map_or(escape.len(), |(at, _)| at);
                (&escape[..length], length)
            }
        };
        mended.push_str(kept);
        rest = &escape[length..];
    }
    mended + rest
}

/// The number in a `\uXXXX` that `text` begins with.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced() {
        let check = |text: &str, expected: &str| {
            let line = format!("\"{text}\"");
            assert_eq!(serde_json::from_str::<String>(&without_lone_surrogates(&line)).expect("JSON"), expected);
        };
        check(r"a\udcffb", "a\u{fffd}b");
        check(r"\ud83d", "\u{fffd}");
        check(r"\ud83d\ud83e\udd80", "\u{fffd}🦀");
        check(r"\ud83e\udd80 ü\u00fc", "🦀 üü");
        check(r#"\\udcff\n\""#, "\\udcff\n\"");
    }
}
