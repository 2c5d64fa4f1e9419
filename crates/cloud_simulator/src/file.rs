//! What a scenario contains, in its file and in requests to the control API. `docs/scenarios.md` explains it.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::faults::Rule;
use local_cloud::SourceType;

pub(crate) const DEFAULT_ENVIRONMENT: &str = "prod";

/// A cloud that behaves as its file says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Everything left to chance is drawn from it.
    pub(crate) seed: u64,
    pub(crate) environments: Vec<Environment>,
    pub(crate) runs: Vec<Run>,
    pub(crate) faults: Vec<Rule>,
    pub(crate) forget: Vec<Forget>,
}

/// The DAG that an environment has from `at_s` on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    #[serde(default = "default_environment")]
    pub name: String,
    /// Left out: since before the first run.
    pub at_s: Option<f64>,
    #[serde(default)]
    pub nodes: Vec<Node>,
    pub generate: Option<Generate>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub name: String,
    #[serde(default)]
    pub parents: Vec<String>,
    #[serde(default)]
    pub audits: Vec<String>,
    /// `audit` makes it a standalone audit.
    #[serde(default = "sql")]
    pub source_type: SourceType,
    pub description: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Nodes that need no names of one's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Generate {
    pub models: usize,
    pub layers: usize,
    pub audits_each: usize,
    pub parents_each: usize,
    pub seeds: usize,
    pub standalone_audits: usize,
}

impl Default for Generate {
    fn default() -> Self {
        Self { models: 10, layers: 3, audits_each: 0, parents_each: 2, seeds: 0, standalone_audits: 0 }
    }
}

/// A run of the scheduler, once or again and again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub id: Option<String>,
    #[serde(default = "default_environment")]
    pub environment: String,
    /// A plan evaluates as a run does; its evaluations carry a `plan_id`.
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub start_s: f64,
    /// How many seconds after each event the cloud gets to know it: its recorder was offline.
    #[serde(default)]
    pub late_s: f64,
    pub repeat_s: Option<f64>,
    /// How often it is repeated at most, the first time counted.
    pub times: Option<u32>,
    #[serde(default)]
    pub task_s: Span,
    /// How many nodes are evaluated at once.
    #[serde(default = "four")]
    pub lanes: usize,
    /// Whether evaluations show as `scheduled` from the beginning.
    #[serde(default)]
    pub announced: bool,
    /// Whether the run says at its start which nodes it intends to evaluate.
    #[serde(default)]
    pub due: bool,
    /// By node name, quotes left out or not; `*` stands for anything.
    #[serde(default)]
    pub nodes: BTreeMap<String, Outcome>,
    /// For nodes that are not named: a status, `audit_failed` or `audit_blocks`, and how probable it is.
    #[serde(default)]
    pub chances: BTreeMap<String, f64>,
    #[serde(default)]
    pub ends: End,
}

/// What evaluates nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Run,
    Plan,
}

impl Kind {
    /// The field of an event that names its run or plan.
    pub fn id_field(self) -> &'static str {
        match self {
            Self::Run => "run_id",
            Self::Plan => "plan_id",
        }
    }

    /// The type of an event, such as `run_started`.
    pub fn event(self, what: &str) -> String {
        match self {
            Self::Run => format!("run_{what}"),
            Self::Plan => format!("plan_{what}"),
        }
    }
}

/// A node's outcome in a run: a status alone, or more than that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// One of the API's; `none`: not evaluated; `open`: never ended; anything else: an unknown status.
    pub status: String,
    /// `Some(None)`: explicitly without.
    pub message: Option<Option<String>>,
    pub log: Option<String>,
    pub task_s: Option<Span>,
    /// From the start of the run; else when its parents are done and a lane is free.
    pub start_s: Option<f64>,
    /// With an unknown status: it never ends.
    pub open: bool,
    pub batches: Vec<Outcome>,
    pub audits: BTreeMap<String, Audited>,
    /// Evaluated although something upstream failed.
    pub despite_upstream: bool,
    /// Of a standalone audit: with a record of the audit.
    pub record: bool,
}

/// How an audit ends: `success`, `failed`, `blocks`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Audited {
    Success,
    Failed,
    /// Failed, and the evaluation with it.
    Blocks,
    /// It did not run.
    None,
}

/// A number of seconds, or the least and the most.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Span {
    Fixed(f64),
    Between(f64, f64),
}

impl Default for Span {
    fn default() -> Self {
        Self::Fixed(1.0)
    }
}

impl Span {
    /// `drawn` is from 0 to 1.
    pub fn seconds(self, drawn: f64) -> f64 {
        match self {
            Self::Fixed(seconds) => seconds.max(0.0),
            Self::Between(least, most) => (least + (most - least) * drawn).max(0.0),
        }
    }
}

/// How a run ends: by itself, never, or at a time, whatever is still open then.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum End {
    #[default]
    ByItself,
    Never,
    As(EndAs),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndAs {
    /// From the start of the run; left out: when everything is done.
    pub at_s: Option<f64>,
    /// Left out: what follows from its nodes, or `failed` with `at_s`.
    pub status: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub message: Option<Option<String>>,
}

/// A run that the cloud no longer has from `at_s` on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forget {
    pub run_id: String,
    #[serde(default)]
    pub at_s: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeFields {
    #[serde(default = "success")]
    status: String,
    #[serde(default, deserialize_with = "given")]
    message: Option<Option<String>>,
    log: Option<String>,
    task_s: Option<Span>,
    start_s: Option<f64>,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    batches: Batches,
    #[serde(default)]
    audits: BTreeMap<String, Audited>,
    #[serde(default)]
    despite_upstream: bool,
    #[serde(default = "yes")]
    record: bool,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Batches {
    #[default]
    One,
    Equal(usize),
    Each(Vec<Outcome>),
}

/// An error says in which field it is.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

impl Outcome {
    pub fn of(status: &str) -> Self {
        Self {
            status: status.to_owned(),
            message: None,
            log: None,
            task_s: None,
            start_s: None,
            open: false,
            batches: Vec::new(),
            audits: BTreeMap::new(),
            despite_upstream: false,
            record: true,
        }
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields: OutcomeFields = match Value::deserialize(deserializer)? {
            Value::String(status) => return Ok(Self::of(&status)),
            other => serde_json::from_value(other).map_err(D::Error::custom)?,
        };
        let one = Self {
            status: fields.status,
            message: fields.message,
            log: fields.log,
            task_s: fields.task_s,
            start_s: fields.start_s,
            open: fields.open,
            batches: Vec::new(),
            audits: fields.audits,
            despite_upstream: fields.despite_upstream,
            record: fields.record,
        };
        let batches = match fields.batches {
            Batches::One => Vec::new(),
            Batches::Equal(count) => vec![one.clone(); count],
            Batches::Each(batches) => batches,
        };
        Ok(Self { batches, ..one })
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(status) if status == "never" => Ok(Self::Never),
            Value::String(status) => Ok(Self::As(EndAs { at_s: None, status: Some(status), message: None })),
            other => serde_json::from_value(other).map(Self::As).map_err(D::Error::custom),
        }
    }
}

/// Distinguishes a null from a field that is missing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

fn default_environment() -> String {
    DEFAULT_ENVIRONMENT.to_owned()
}

fn sql() -> SourceType {
    SourceType::Sql
}

fn success() -> String {
    "success".to_owned()
}

fn four() -> usize {
    4
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_word_or_more() {
        let check = |text: &str, expected: Outcome| {
            let value = serde_norway::from_str(text).expect("YAML");
            assert_eq!(from_value::<Outcome>(value), Ok(expected), "{text}");
        };
        check("failed", Outcome::of("failed"));
        check("{}", Outcome::of("success"));
        check("{status: failed, message: null}", Outcome { message: Some(None), ..Outcome::of("failed") });
        let success = Outcome::of("success");
        check("{batches: 2}", Outcome { batches: vec![success.clone(), success.clone()], ..success.clone() });
        check(
            "{batches: [failed, success]}",
            Outcome { batches: vec![Outcome::of("failed"), success.clone()], ..success },
        );
    }

    #[test]
    fn a_run_ends_in_three_ways() {
        let check = |text: &str, expected: End| {
            let value = serde_norway::from_str(text).expect("YAML");
            assert_eq!(from_value::<End>(value), Ok(expected), "{text}");
        };
        check("never", End::Never);
        check("aborted", End::As(EndAs { at_s: None, status: Some("aborted".to_owned()), message: None }));
        check("{at_s: 2, message: null}", End::As(EndAs { at_s: Some(2.0), status: None, message: Some(None) }));
    }

    #[test]
    fn a_slip_is_reported_by_its_name() {
        let check = |text: &str, expected: &str| {
            let error = Scenario::parse(text).expect_err("a slip");
            assert!(error.contains(expected), "{error}");
        };
        check("{runs: [{strat_s: 1}]}", "strat_s");
        check("{runs: [{nodes: {a: {stauts: failed}}}]}", "stauts");
        check("{faults: [{do: explode}]}", "explode");
        check("{faults: [{do: {redirect: elsewhere}}]}", "elsewhere");
        check("[1", "");
    }
}
