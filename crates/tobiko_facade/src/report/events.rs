//! What there is to report about a remote run, in the order in which it is reported.

use std::rc::Rc;

use jiff::Timestamp;
use tobiko_api::Evaluation;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The remote run that is followed; once, first.
    Run(RunFound),
    /// A node's first evaluation has begun. `ended`: its task has ended by now, too, and follows.
    TaskStarted { node: String, model_name: String, link: Option<String>, at: Option<Timestamp>, ended: bool },
    /// What became of a task, with all that belongs to it.
    Task(Box<Task>),
    /// A run of the past, with what became of its tasks.
    PastRun(Box<PastRun>),
    /// Something for the log.
    Log(Level, String),
    /// Nothing comes after this.
    RunFinished(RunFinished),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunFound {
    pub run_id: String,
    pub environment: String,
    pub status: String,
    pub link: Option<String>,
    pub start_at: Option<Timestamp>,
    /// How many tasks there are, as far as is known.
    pub tasks: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The node's name, as the cloud has it.
    pub node: String,
    /// As the user has it, for people.
    pub model_name: String,
    /// Key of the node's asset; a standalone audit has none.
    pub key: Option<Rc<[String]>>,
    pub outcome: Outcome,
    /// Why, where it is not a plain success: the remote message, or a sentence.
    pub reason: Option<String>,
    /// The debugger's page.
    pub link: Option<String>,
    pub log_link: Option<String>,
    pub warnings: Vec<String>,
    pub evaluation_ids: Vec<String>,
    /// The task had its verdict before these evaluations were seen.
    pub late: bool,
    pub start_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    pub materialization: Option<Materialization>,
    pub checks: Vec<CheckResult>,
}

/// A remote run that had ended before anybody followed it. Assets and checks have their state already: nothing is said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    pub run_id: String,
    /// `Success` or `Failure`.
    pub outcome: FinishedAs,
    pub reason: Option<String>,
    pub link: Option<String>,
    pub start_at: Timestamp,
    pub end_at: Timestamp,
    /// What was evaluated in it, in the order in which it ended.
    pub tasks: Vec<PastTask>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PastTask {
    /// The node's name, as the cloud has it.
    pub node: String,
    /// `Success` or `Failure`.
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub link: Option<String>,
    pub log_link: Option<String>,
    pub start_at: Timestamp,
    pub end_at: Timestamp,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
    /// The scheduler had nothing to do for it.
    NothingDue,
    /// The run ended badly before the scheduler came to it.
    Skipped,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::NothingDue => "nothing_due",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Materialization {
    pub key: Rc<[String]>,
    /// The one that materialized it: of several, that which ended last.
    pub evaluation: Rc<Evaluation>,
    /// How many evaluations the task had in the run; `None` where only the newest of them was looked at.
    pub batches: Option<usize>,
    pub numbers: LoadNumbers,
}

impl Materialization {
    /// When it was done.
    pub fn at(&self) -> Option<Timestamp> {
        self.evaluation.end_at.or(self.evaluation.start_at)
    }
}

/// What the evaluations that loaded something add up to. Each is `None` unless it is known of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadNumbers {
    /// The sum of the evaluations' durations, their audits included: for how long was worked, however much of it at once.
    pub duration_s: Option<f64>,
    /// The least start and the greatest end.
    pub interval: Option<(Timestamp, Timestamp)>,
    pub rows: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    pub key: Rc<[String]>,
    pub name: String,
    pub passed: bool,
    pub severity: Severity,
    pub evaluation_id: String,
    pub link: Option<String>,
    pub log_link: Option<String>,
    pub executed_at: Option<Timestamp>,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    pub duration_s: Option<f64>,
    pub failing_rows: Option<u64>,
    pub blocking: Option<bool>,
    pub arguments: Option<String>,
    pub query: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warn,
    /// The evaluation failed as well.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunFinished {
    pub outcome: FinishedAs,
    pub run_id: Option<String>,
    pub reason: Option<String>,
    pub link: Option<String>,
    pub tasks: usize,
    /// Requests that were sent to the cloud.
    pub requests: u64,
}

impl RunFinished {
    /// An end of which nothing but the outcome is known.
    pub fn new(outcome: FinishedAs) -> Self {
        Self { outcome, run_id: None, reason: None, link: None, tasks: 0, requests: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishedAs {
    Success,
    /// All was reported, and the remote run ended badly.
    Failure,
    /// Not all could be reported.
    GaveUp,
}

impl FinishedAs {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::GaveUp => "gave_up",
        }
    }
}

/// Unix seconds.
pub fn epoch(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
