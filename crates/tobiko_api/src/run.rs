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
    /// The interval that the batch covers, its end exclusive. Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::time", skip_serializing_if = "Option::is_none")]
    pub interval_start: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time", skip_serializing_if = "Option::is_none")]
    pub interval_end: Option<Timestamp>,
    /// Rows that the engine said it has written. Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::unsigned", skip_serializing_if = "Option::is_none")]
    pub rows_processed: Option<u64>,
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
    /// Of a local cloud, the query that ran.
    #[serde(deserialize_with = "lenient::some_text")]
    pub log: Option<String>,
    /// The arguments as a person reads them, `name := value, ...`. This and what follows, Tobiko Cloud does not say.
    #[serde(deserialize_with = "lenient::some_text", skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Whether its failure ends the evaluation.
    #[serde(deserialize_with = "lenient::some_flag", skip_serializing_if = "Option::is_none")]
    pub blocking: Option<bool>,
    /// How many rows failed it.
    #[serde(deserialize_with = "lenient::unsigned", skip_serializing_if = "Option::is_none")]
    pub failing_rows: Option<u64>,
    #[serde(deserialize_with = "lenient::seconds", skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Whether `log` is the query that ran: said once here, rather than to send a long text twice.
    #[serde(deserialize_with = "lenient::flag", skip_serializing_if = "std::ops::Not::not")]
    pub log_is_query: bool,
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

    /// From its start to its end, in seconds; `None` unless both are known.
    pub fn duration_s(&self) -> Option<f64> {
        let duration = self.end_at?.duration_since(self.start_at?).as_secs_f64();
        (duration >= 0.0).then_some(duration)
    }

    /// The interval that it covers: its own, else that of its audits. `None` unless both ends are known.
    pub fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        if let (Some(start), Some(end)) = (self.interval_start, self.interval_end) {
            return Some((start, end));
        }
        // Where a local cloud does not know an audit's interval, both ends are the time of the audit.
        let known = self.audits.iter().filter_map(|audit| audit.interval_start.zip(audit.interval_end));
        known.filter(|(start, end)| start < end).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
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

    /// The query that ran, where the cloud says so.
    pub fn query(&self) -> Option<&str> {
        self.log.as_deref().filter(|_| self.log_is_query)
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
    fn the_interval_is_the_evaluations_own_or_that_of_its_audits() {
        fn check(evaluation: &str, expected: Option<(&str, &str)>) {
            let evaluation: Evaluation = serde_json::from_str(evaluation).unwrap();
            let expected = expected.map(|(start, end)| (start.parse().unwrap(), end.parse().unwrap()));
            assert_eq!(evaluation.interval(), expected, "{evaluation:?}");
        }
        let day =
            |day: &str, next: &str| format!(r#""interval_start":"{day}T00:00:00Z","interval_end":"{next}T00:00:00Z""#);
        let (first, second, none) =
            (day("2024-05-01", "2024-05-02"), day("2024-05-02", "2024-05-03"), day("2024-06-01", "2024-06-01"));
        check("{}", None);
        check(r#"{"interval_start":"2024-05-01","audits":[]}"#, None);
        check(&format!("{{{first}}}"), Some(("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z")));
        check(
            &format!(r#"{{"audits":[{{"name":"b",{second}}},{{"name":"a",{first}}},{{"name":"c"}}]}}"#),
            Some(("2024-05-01T00:00:00Z", "2024-05-03T00:00:00Z")),
        );
        check(
            &format!(r#"{{{first},"audits":[{{"name":"a",{second}}}]}}"#),
            Some(("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z")),
        );
        check(&format!(r#"{{"audits":[{{"name":"a",{none}}}]}}"#), None);
    }

    #[test]
    fn the_duration_needs_both_ends() {
        fn check(evaluation: &str, expected: Option<f64>) {
            let evaluation: Evaluation = serde_json::from_str(evaluation).unwrap();
            assert_eq!(evaluation.duration_s(), expected, "{evaluation:?}");
        }
        check("{}", None);
        check(r#"{"end_at":"2024-05-01T00:00:00Z"}"#, None);
        check(r#"{"start_at":"2024-05-01T00:00:00Z","end_at":"2024-05-01T00:00:01.5Z"}"#, Some(1.5));
        check(r#"{"start_at":"2024-05-01T00:00:01Z","end_at":"2024-05-01T00:00:00Z"}"#, None);
    }

    #[test]
    fn what_only_a_local_cloud_says_of_an_audit_is_optional() {
        let odd =
            r#"{"name":"a","args":"","blocking":"perhaps","failing_rows":-1,"duration_seconds":"x","log":"SELECT 1"}"#;
        let audit: AuditEvaluation = serde_json::from_str(odd).unwrap();
        assert_eq!(
            (&audit.args, audit.blocking, audit.failing_rows, audit.duration_seconds),
            (&None, None, None, None)
        );
        assert_eq!(audit.query(), None);
        let written = serde_json::to_value(&audit).unwrap();
        assert!(written.get("args").is_none() && written.get("log_is_query").is_none(), "{written}");
        let all = r#"{"name":"a","args":"columns := (id)","blocking":false,"failing_rows":"2","duration_seconds":0.25,
                      "log":"SELECT 1","log_is_query":true}"#;
        let audit: AuditEvaluation = serde_json::from_str(all).unwrap();
        assert_eq!(audit.args.as_deref(), Some("columns := (id)"));
        assert_eq!((audit.blocking, audit.failing_rows, audit.duration_seconds), (Some(false), Some(2), Some(0.25)));
        assert_eq!(audit.query(), Some("SELECT 1"));
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
