//! How one evaluation stands, from its own record alone.

use tobiko_client::{Evaluation, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvaluationState {
    Succeeded,
    /// The scheduler found nothing to do.
    Skipped,
    Failed,
    /// Preempted or aborted.
    Stopped,
    /// It has an end, and a status that this version does not know.
    Unclear,
    Open,
}

impl EvaluationState {
    /// A message of failure counts for more than the status.
    pub fn of(evaluation: &Evaluation) -> Self {
        if error(evaluation).is_some() {
            return Self::Failed;
        }
        match &evaluation.status {
            Status::Success => Self::Succeeded,
            Status::Skipped => Self::Skipped,
            Status::Failed => Self::Failed,
            Status::Preempted | Status::Aborted => Self::Stopped,
            Status::Scheduled | Status::InProgress | Status::Unknown(_) => {
                if evaluation.end_at.is_some() {
                    Self::Unclear
                } else {
                    Self::Open
                }
            }
        }
    }
}

/// Whether an evaluation has begun; one that is only planned has not.
pub fn has_started(evaluation: &Evaluation) -> bool {
    evaluation.start_at.is_some() || evaluation.end_at.is_some() || evaluation.status != Status::Scheduled
}

/// The evaluation's error message, if there is more to it than white space.
pub fn error(evaluation: &Evaluation) -> Option<&str> {
    evaluation.error_message.as_deref().filter(|message| !message.trim().is_empty())
}
