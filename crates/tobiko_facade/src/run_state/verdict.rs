//! The truth about a task: what the evaluations of one node in one remote run amount to. Pure; `docs/truth.md` has the table.
//! Which nodes there are, and what has been reported already, is the watcher's business.

use tobiko_client::Run;

use super::evaluation_state::{EvaluationState, error};
use super::node_summary::NodeSummary;
use crate::report::events::Outcome;

/// Where a task stands.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskState {
    /// Nothing is known of it yet.
    Waiting,
    /// An evaluation has begun, or is planned, and not all have ended.
    Open {
        started: bool,
    },
    Decided(Verdict),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub warning: Option<String>,
}

impl Verdict {
    fn new(outcome: Outcome, reason: impl Into<Option<String>>) -> Self {
        Self { outcome, reason: reason.into(), warning: None }
    }

    fn warn(self, warning: &str) -> Self {
        Self { warning: Some(warning.to_owned()), ..self }
    }
}

/// Why a task without an evaluation is known to have nothing to do before the run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDueReason {
    /// The cloud has announced what the run will evaluate, and it is not among that.
    NotAnnounced,
    /// A seed or an external model, which are seldom due, and the cloud does not announce what is.
    SeedOrExternal,
    /// Something downstream of it has started.
    DownstreamStarted,
    /// It is no longer in the environment's DAG.
    NotInDag,
}

/// What `evaluations`, all those of one node in `run`, amount to.
pub fn judge(run: &Run, evaluations: &NodeSummary, not_due: Option<NotDueReason>) -> TaskState {
    if evaluations.is_empty() {
        return without_evaluation(run, not_due);
    }
    let is_open = evaluations.has(EvaluationState::Open) || evaluations.has(EvaluationState::Unclear);
    if is_open && !run.ended() {
        return TaskState::Open { started: evaluations.first_started().is_some() };
    }
    TaskState::Decided(verdict(run, evaluations))
}

fn without_evaluation(run: &Run, not_due: Option<NotDueReason>) -> TaskState {
    let reason = match not_due {
        Some(NotDueReason::NotAnnounced) => "nothing was due",
        Some(NotDueReason::SeedOrExternal) => "nothing was due so far: seeds and external models are not waited for",
        Some(NotDueReason::NotInDag) => "nothing was due: it is no longer in the environment",
        Some(NotDueReason::DownstreamStarted) => "nothing was due",
        None if run.ended_well() => "nothing was due",
        None if run.ended() => {
            let reason = format!("not evaluated: {}", how_it_ended(run));
            return TaskState::Decided(Verdict::new(Outcome::Skipped, reason));
        }
        None => return TaskState::Waiting,
    };
    TaskState::Decided(Verdict::new(Outcome::NothingDue, Some(reason.to_owned())))
}

/// The verdict on evaluations of which none is open, or whose run has ended.
fn verdict(run: &Run, evaluations: &NodeSummary) -> Verdict {
    let batches = |state: EvaluationState| match evaluations.len() {
        1 => String::new(),
        all => format!("{} of {all} batches: ", evaluations.count(state)),
    };
    if let Some(last) = &evaluations.last_failed {
        let message = error(last).unwrap_or("failed remotely, without a message");
        return Verdict::new(Outcome::Failure, format!("{}{message}", batches(EvaluationState::Failed)));
    }
    if let Some(last) = &evaluations.last_stopped {
        let reason = format!("{}{} remotely before it was done", batches(EvaluationState::Stopped), last.status);
        return Verdict::new(Outcome::Failure, reason);
    }
    if evaluations.has(EvaluationState::Open) {
        return if run.ended_well() {
            Verdict::new(Outcome::Success, None).warn("the run ended well, but an evaluation was never closed")
        } else {
            Verdict::new(Outcome::Failure, format!("never ended: {}", how_it_ended(run)))
        };
    }
    if let Some(unclear) = &evaluations.last_unclear {
        let warning = format!(
            "the cloud says '{}', which this version does not know: judged by how the run ended",
            unclear.status
        );
        return if run.ended_well() {
            Verdict::new(Outcome::Success, None).warn(&warning)
        } else {
            Verdict::new(Outcome::Failure, format!("ended as '{}': {}", unclear.status, how_it_ended(run)))
                .warn(&warning)
        };
    }
    if !evaluations.has(EvaluationState::Succeeded) {
        return Verdict::new(Outcome::NothingDue, Some("nothing was due".to_owned()));
    }
    Verdict::new(Outcome::Success, None)
}

/// How a run ended, as a sentence: its message, else its status.
pub fn how_it_ended(run: &Run) -> String {
    match run.error_message.as_deref().filter(|message| !message.trim().is_empty()) {
        Some(message) => format!("the run failed: {message}"),
        None => format!("the run ended as '{}', without a message", run.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::run_state::asset_map::AssetMap;
    use crate::testing::{evaluation, run};

    #[track_caller]
    fn check(
        run: &Run,
        statuses: &[&str],
        not_due: Option<NotDueReason>,
        expected: Result<(Outcome, &str), TaskState>,
    ) {
        let evaluations = statuses.iter().enumerate().map(|(n, s)| evaluation("a", n, s));
        let assets = AssetMap::new(&Manifest::new("prod", None, None), None);
        let state = judge(run, &NodeSummary::of(&assets, "a", evaluations), not_due);
        match (state, expected) {
            (TaskState::Decided(verdict), Ok((outcome, reason))) => {
                assert_eq!(verdict.outcome, outcome, "{statuses:?}");
                let sentence = verdict.reason.unwrap_or_default();
                assert!(sentence.contains(reason), "{statuses:?}: {sentence:?} has no {reason:?}");
            }
            (state, expected) => assert_eq!(Err(state), expected, "{statuses:?}"),
        }
    }

    const GOES_ON: &str = "in_progress";

    #[test]
    fn every_evaluation_ended_well_is_a_success() {
        check(&run(GOES_ON), &["success"], None, Ok((Outcome::Success, "")));
        check(&run("success"), &["success", "success"], None, Ok((Outcome::Success, "")));
        check(&run(GOES_ON), &["skipped", "success"], None, Ok((Outcome::Success, "")));
    }

    #[test]
    fn a_failed_evaluation_is_a_failure_by_status_or_by_message() {
        check(&run(GOES_ON), &["failed:no such table"], None, Ok((Outcome::Failure, "no such table")));
        check(&run(GOES_ON), &["failed"], None, Ok((Outcome::Failure, "without a message")));
        check(&run("success"), &["success:but broken"], None, Ok((Outcome::Failure, "but broken")));
        check(&run(GOES_ON), &["failed:x", "success"], None, Ok((Outcome::Failure, "1 of 2 batches: x")));
    }

    #[test]
    fn a_blank_message_is_no_message() {
        check(&run(GOES_ON), &["success: "], None, Ok((Outcome::Success, "")));
    }

    #[test]
    fn preempted_and_aborted_are_failures_that_say_so() {
        check(&run(GOES_ON), &["preempted"], None, Ok((Outcome::Failure, "preempted")));
        check(&run("success"), &["success", "aborted"], None, Ok((Outcome::Failure, "aborted")));
    }

    #[test]
    fn skipped_means_nothing_was_due() {
        check(&run(GOES_ON), &["skipped"], None, Ok((Outcome::NothingDue, "nothing was due")));
    }

    #[test]
    fn without_an_evaluation_it_waits_until_something_is_known() {
        check(&run(GOES_ON), &[], None, Err(TaskState::Waiting));
        check(&run(GOES_ON), &[], Some(NotDueReason::SeedOrExternal), Ok((Outcome::NothingDue, "seeds")));
        check(&run(GOES_ON), &[], Some(NotDueReason::NotAnnounced), Ok((Outcome::NothingDue, "nothing was due")));
        check(&run("failed:x"), &[], Some(NotDueReason::NotAnnounced), Ok((Outcome::NothingDue, "nothing was due")));
        check(&run(GOES_ON), &[], Some(NotDueReason::DownstreamStarted), Ok((Outcome::NothingDue, "nothing was due")));
        check(&run(GOES_ON), &[], Some(NotDueReason::NotInDag), Ok((Outcome::NothingDue, "no longer")));
        check(&run("success"), &[], None, Ok((Outcome::NothingDue, "nothing was due")));
        check(&run("skipped"), &[], None, Ok((Outcome::NothingDue, "nothing was due")));
        check(&run("failed:crashed"), &[], None, Ok((Outcome::Skipped, "crashed")));
        check(&run("success:crashed"), &[], None, Ok((Outcome::Skipped, "crashed")));
    }

    #[test]
    fn an_open_evaluation_is_waited_for_while_the_run_goes_on() {
        check(&run(GOES_ON), &["in_progress"], None, Err(TaskState::Open { started: true }));
        check(&run(GOES_ON), &["scheduled"], None, Err(TaskState::Open { started: false }));
        check(&run(GOES_ON), &["success", "scheduled"], None, Err(TaskState::Open { started: true }));
        check(&run(GOES_ON), &["failed:x", "in_progress"], None, Err(TaskState::Open { started: true }));
        check(&run(GOES_ON), &["odd"], None, Err(TaskState::Open { started: true }));
    }

    #[test]
    fn an_open_evaluation_in_a_crashed_run_is_a_failure() {
        check(&run("failed:crashed"), &["in_progress"], None, Ok((Outcome::Failure, "crashed")));
        check(&run("aborted"), &["in_progress"], None, Ok((Outcome::Failure, "aborted")));
        check(&run("failed:crashed"), &["success", "in_progress"], None, Ok((Outcome::Failure, "crashed")));
    }

    #[test]
    fn an_unknown_status_is_judged_by_how_the_run_ended() {
        check(&run(GOES_ON), &["odd+"], None, Err(TaskState::Open { started: true }));
        check(&run("success"), &["odd+"], None, Ok((Outcome::Success, "")));
        check(&run("failed:crashed"), &["odd+"], None, Ok((Outcome::Failure, "crashed")));
    }
}
