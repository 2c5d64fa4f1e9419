//! From a node's evaluations to what Dagster shows for them: one materialization, each audit once.

use super::asset_map::Places;
use super::node_summary::Merged;
use super::verdict::Verdict;
use crate::report::events::{Materialization, Outcome, Task};

/// The task of `node`, judged by `verdict` from `evaluations`.
pub fn task(places: &Places, node: &str, verdict: Verdict, evaluations: Merged) -> Task {
    let told = match verdict.outcome {
        Outcome::Failure => evaluations.last_bad(),
        _ => None,
    }
    .or_else(|| evaluations.newest());
    // A success with an evaluation of which nobody knows how it ended shows nothing as fresh.
    let materialization = match verdict.outcome {
        Outcome::Success if evaluations.last_bad().is_none() => materialization(places, node, &evaluations),
        _ => None,
    };
    Task {
        node: node.to_owned(),
        key: places.key(node),
        outcome: verdict.outcome,
        reason: verdict.reason,
        link: told.and_then(|evaluation| evaluation.link.clone()),
        log_link: told.and_then(|evaluation| evaluation.log_link.clone()),
        warnings: verdict.warning.into_iter().collect(),
        evaluation_ids: evaluations.evaluation_ids.clone(),
        late: false,
        start_at: evaluations.start_at,
        end_at: evaluations.end_at,
        materialization,
        checks: match verdict.outcome {
            Outcome::Success | Outcome::Failure => evaluations.into_checks(),
            Outcome::NothingDue | Outcome::Skipped => Vec::new(),
        },
    }
}

/// From the evaluation that ended last, of those that ended well.
pub fn materialization(places: &Places, node: &str, evaluations: &Merged) -> Option<Materialization> {
    let last = evaluations.newest_well()?;
    Some(Materialization {
        key: places.key(node)?,
        run_id: last.run_id.clone(),
        evaluation_id: last.evaluation_id.clone(),
        status: last.status.to_string(),
        at: last.end_at.or(last.start_at),
        link: last.link.clone(),
        log_link: last.log_link.clone(),
        batches: evaluations.len(),
    })
}
