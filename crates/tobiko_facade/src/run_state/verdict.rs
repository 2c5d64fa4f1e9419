//! The truth about a task: what the evaluations of one node in one remote run amount to. Pure; `docs/truth.md` has the table.
//! Which nodes there are, and what has been told already, is the watcher's business.

use tobiko_client::Run;

use super::evaluation_state::{Ended, error};
use super::node_summary::Merged;
use crate::report::events::Outcome;

/// Where a task stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
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

/// Why a task without an evaluation may be known to have nothing to do before the run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// A seed or an external model: never part of a cadence run.
    NeverDue,
    /// Something downstream of it has started.
    Passed,
    /// It is no longer in the environment's DAG.
    Gone,
    No,
}

/// What `evaluations`, all those of one node in `run`, amount to.
pub fn judge(run: &Run, evaluations: &Merged, idle: Idle) -> State {
    if evaluations.is_empty() {
        return without_evaluation(run, idle);
    }
    if !run.ended() && (evaluations.has(Ended::Open) || evaluations.has(Ended::Unclear)) {
        return State::Open { started: evaluations.first_started().is_some() };
    }
    State::Decided(verdict(run, evaluations))
}

fn without_evaluation(run: &Run, idle: Idle) -> State {
    let nothing_due = |reason: &str| State::Decided(Verdict::new(Outcome::NothingDue, Some(reason.to_owned())));
    match (run.ended(), idle) {
        (_, Idle::NeverDue) => nothing_due("nothing was due: seeds and external models are not part of a run"),
        (_, Idle::Gone) => nothing_due("nothing was due: it is no longer in the environment"),
        (_, Idle::Passed) => nothing_due("nothing was due"),
        (true, Idle::No) if run.ended_well() => nothing_due("nothing was due"),
        (true, Idle::No) => {
            State::Decided(Verdict::new(Outcome::Skipped, format!("not evaluated: {}", how_it_ended(run))))
        }
        (false, Idle::No) => State::Waiting,
    }
}

/// The verdict on evaluations of which none is open, or whose run has ended.
fn verdict(run: &Run, evaluations: &Merged) -> Verdict {
    let batches = |ended: Ended| match evaluations.len() {
        1 => String::new(),
        of => format!("{} of {of} batches: ", evaluations.count(ended)),
    };
    if let Some(last) = &evaluations.last_failed {
        let message = error(last).unwrap_or("failed remotely, without a message");
        return Verdict::new(Outcome::Failure, format!("{}{message}", batches(Ended::Failed)));
    }
    if let Some(last) = &evaluations.last_stopped {
        let reason = format!("{}{} remotely before it was done", batches(Ended::Stopped), last.status);
        return Verdict::new(Outcome::Failure, reason);
    }
    if evaluations.has(Ended::Open) {
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
    if !evaluations.has(Ended::Well) {
        return Verdict::new(Outcome::NothingDue, Some("nothing was due".to_owned()));
    }
    Verdict::new(Outcome::Success, None)
}

/// How a run ended, in words: its message, else its status.
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
    use crate::run_state::asset_map::Places;
    use crate::testing::{evaluation, run};

    #[track_caller]
    fn check(run: &Run, statuses: &[&str], idle: Idle, expected: Result<(Outcome, &str), State>) {
        let evaluations = statuses.iter().enumerate().map(|(n, s)| evaluation("a", n, s));
        let places = Places::new(&Manifest::new("prod", None, None), None);
        let state = judge(run, &Merged::of(&places, "a", evaluations), idle);
        match (state, expected) {
            (State::Decided(verdict), Ok((outcome, reason))) => {
                assert_eq!(verdict.outcome, outcome, "{statuses:?}");
                let told = verdict.reason.unwrap_or_default();
                assert!(told.contains(reason), "{statuses:?}: {told:?} has no {reason:?}");
            }
            (state, expected) => assert_eq!(Err(state), expected, "{statuses:?}"),
        }
    }

    const GOES_ON: &str = "in_progress";

    #[test]
    fn every_evaluation_ended_well_is_a_success() {
        check(&run(GOES_ON), &["success"], Idle::No, Ok((Outcome::Success, "")));
        check(&run("success"), &["success", "success"], Idle::No, Ok((Outcome::Success, "")));
        check(&run(GOES_ON), &["skipped", "success"], Idle::No, Ok((Outcome::Success, "")));
    }

    #[test]
    fn a_failed_evaluation_is_a_failure_by_status_or_by_message() {
        check(&run(GOES_ON), &["failed:no such table"], Idle::No, Ok((Outcome::Failure, "no such table")));
        check(&run(GOES_ON), &["failed"], Idle::No, Ok((Outcome::Failure, "without a message")));
        check(&run("success"), &["success:but broken"], Idle::No, Ok((Outcome::Failure, "but broken")));
        check(&run(GOES_ON), &["failed:x", "success"], Idle::No, Ok((Outcome::Failure, "1 of 2 batches: x")));
    }

    #[test]
    fn a_blank_message_is_no_message() {
        check(&run(GOES_ON), &["success: "], Idle::No, Ok((Outcome::Success, "")));
    }

    #[test]
    fn preempted_and_aborted_are_failures_that_say_so() {
        check(&run(GOES_ON), &["preempted"], Idle::No, Ok((Outcome::Failure, "preempted")));
        check(&run("success"), &["success", "aborted"], Idle::No, Ok((Outcome::Failure, "aborted")));
    }

    #[test]
    fn skipped_means_nothing_was_due() {
        check(&run(GOES_ON), &["skipped"], Idle::No, Ok((Outcome::NothingDue, "nothing was due")));
    }

    #[test]
    fn without_an_evaluation_it_waits_until_something_is_known() {
        check(&run(GOES_ON), &[], Idle::No, Err(State::Waiting));
        check(&run(GOES_ON), &[], Idle::NeverDue, Ok((Outcome::NothingDue, "seeds")));
        check(&run(GOES_ON), &[], Idle::Passed, Ok((Outcome::NothingDue, "nothing was due")));
        check(&run(GOES_ON), &[], Idle::Gone, Ok((Outcome::NothingDue, "no longer")));
        check(&run("success"), &[], Idle::No, Ok((Outcome::NothingDue, "nothing was due")));
        check(&run("skipped"), &[], Idle::No, Ok((Outcome::NothingDue, "nothing was due")));
        check(&run("failed:crashed"), &[], Idle::No, Ok((Outcome::Skipped, "crashed")));
        check(&run("success:crashed"), &[], Idle::No, Ok((Outcome::Skipped, "crashed")));
    }

    #[test]
    fn an_open_evaluation_is_waited_for_while_the_run_goes_on() {
        check(&run(GOES_ON), &["in_progress"], Idle::No, Err(State::Open { started: true }));
        check(&run(GOES_ON), &["scheduled"], Idle::No, Err(State::Open { started: false }));
        check(&run(GOES_ON), &["success", "scheduled"], Idle::No, Err(State::Open { started: true }));
        check(&run(GOES_ON), &["failed:x", "in_progress"], Idle::No, Err(State::Open { started: true }));
        check(&run(GOES_ON), &["odd"], Idle::No, Err(State::Open { started: true }));
    }

    #[test]
    fn an_open_evaluation_in_a_crashed_run_is_a_failure() {
        check(&run("failed:crashed"), &["in_progress"], Idle::No, Ok((Outcome::Failure, "crashed")));
        check(&run("aborted"), &["in_progress"], Idle::No, Ok((Outcome::Failure, "aborted")));
        check(&run("failed:crashed"), &["success", "in_progress"], Idle::No, Ok((Outcome::Failure, "crashed")));
    }

    #[test]
    fn an_unknown_status_is_judged_by_how_the_run_ended() {
        check(&run(GOES_ON), &["odd+"], Idle::No, Err(State::Open { started: true }));
        check(&run("success"), &["odd+"], Idle::No, Ok((Outcome::Success, "")));
        check(&run("failed:crashed"), &["odd+"], Idle::No, Ok((Outcome::Failure, "crashed")));
    }
}
