//! How one evaluation stands, from its own record alone.

use tobiko_client::{Evaluation, Status};

/// How one evaluation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The scheduler found nothing to do.
    Skipped,
    Failed,
    Stopped,
    /// With an end, and a status that this version does not know.
    Unclear,
    Open,
}

/// How an evaluation stands, from its own record alone.
pub fn ended(evaluation: &Evaluation) -> Ended {
    if error(evaluation).is_some() {
        return Ended::Failed;
    }
    match &evaluation.status {
        Status::Success => Ended::Well,
        Status::Skipped => Ended::Skipped,
        Status::Failed => Ended::Failed,
        Status::Preempted | Status::Aborted => Ended::Stopped,
        Status::Scheduled | Status::InProgress | Status::Unknown(_) => match evaluation.end_at {
            Some(_) => Ended::Unclear,
            None => Ended::Open,
        },
    }
}

/// Whether an evaluation has begun; one that is only planned has not.
pub fn started(evaluation: &Evaluation) -> bool {
    evaluation.start_at.is_some() || evaluation.end_at.is_some() || evaluation.status != Status::Scheduled
}

/// The evaluation's error message, if it says anything.
pub fn error(evaluation: &Evaluation) -> Option<&str> {
    evaluation.error_message.as_deref().filter(|message| !message.trim().is_empty())
}
