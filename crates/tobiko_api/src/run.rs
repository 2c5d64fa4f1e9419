//! A run of the scheduler, and what it did for one node. Facts of one record: what they mean for a task is decided elsewhere.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Status;
use crate::lenient;
use crate::records::Record;

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
    /// Order in which the server came to know its runs. Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::unsigned", skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The nodes that the run intends to evaluate; `None` where the server does not say, or does not know yet. Only in the answer
    /// for a single run.
    #[serde(deserialize_with = "lenient::some_texts", skip_serializing_if = "Option::is_none")]
    pub due_node_names: Option<Vec<String>>,
}

/// What was done for one node (one batch of it), in a run or by a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    #[serde(deserialize_with = "lenient::text")]
    pub evaluation_id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub node_name: String,
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
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
    /// Nothing was loaded: the data was only audited. Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::flag", skip_serializing_if = "std::ops::Not::not")]
    pub only_audits: bool,
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

impl Record for Run {
    const KIND: &'static str = "a run";
    fn is_named(&self) -> bool {
        !self.run_id.is_empty()
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

impl Record for Evaluation {
    const KIND: &'static str = "an evaluation";
    fn is_named(&self) -> bool {
        !self.evaluation_id.is_empty() && !self.node_name.is_empty()
    }
}

impl AuditEvaluation {
    pub fn passed(&self) -> bool {
        self.status == Status::Success
    }
}

impl Record for AuditEvaluation {
    const KIND: &'static str = "an audit's result";
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_local_cloud_says_is_read_and_is_optional() {
        fn check(run: &str, seq: Option<u64>, due: Option<&[&str]>) {
            let run: Run = serde_json::from_str(run).unwrap();
            assert_eq!(
                (run.seq, run.due_node_names.as_deref()),
                (seq, due.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).as_deref()),
                "{run:?}"
            );
        }
        check(r#"{"run_id":"r"}"#, None, None);
        check(r#"{"run_id":"r","seq":null,"due_node_names":null}"#, None, None);
        check(r#"{"run_id":"r","seq":-1,"due_node_names":[]}"#, None, Some(&[]));
        check(r#"{"run_id":"r","seq":"12","due_node_names":["a","b"]}"#, Some(12), Some(&["a", "b"]));
        let written = serde_json::to_value(Run::default()).unwrap();
        assert!(written.get("seq").is_none() && written.get("due_node_names").is_none(), "{written}");
    }

    #[test]
    fn an_evaluation_may_have_only_audited() {
        fn check(evaluation: &str, expected: bool) {
            let evaluation: Evaluation = serde_json::from_str(evaluation).unwrap();
            assert_eq!(evaluation.only_audits, expected);
            assert_eq!(serde_json::to_value(&evaluation).unwrap().get("only_audits").is_some(), expected);
        }
        check("{}", false);
        check(r#"{"only_audits":null}"#, false);
        check(r#"{"only_audits":"odd"}"#, false);
        check(r#"{"only_audits":false}"#, false);
        check(r#"{"only_audits":true}"#, true);
    }
}
