//! From a node's evaluations to what Dagster shows for them: one materialization, each audit once.

use std::rc::Rc;

use super::asset_map::AssetMap;
use super::node_summary::NodeSummary;
use super::verdict::Verdict;
use crate::report::events::{Materialization, Outcome, Task};

/// The task of `node`, judged by `verdict` from `evaluations`.
pub fn task(assets: &AssetMap, node: &str, verdict: Verdict, evaluations: NodeSummary) -> Task {
    let linked = match verdict.outcome {
        Outcome::Failure => evaluations.last_bad(),
        _ => None,
    }
    .or_else(|| evaluations.newest());
    // A success with an evaluation of which nobody knows how it ended shows nothing as fresh.
    let materialization = match verdict.outcome {
        Outcome::Success if evaluations.last_bad().is_none() => materialization(assets, node, &evaluations),
        _ => None,
    };
    Task {
        node: node.to_owned(),
        model_name: assets.model_name(node).to_owned(),
        key: assets.key(node),
        outcome: verdict.outcome,
        reason: verdict.reason,
        link: linked.and_then(|evaluation| evaluation.link.clone()),
        log_link: linked.and_then(|evaluation| evaluation.log_link.clone()),
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

/// From the evaluation that ended last, of those that ended well. What was only audited is not materialized.
pub fn materialization(assets: &AssetMap, node: &str, evaluations: &NodeSummary) -> Option<Materialization> {
    if assets.is_only_audited(node) {
        return None;
    }
    Some(Materialization {
        key: assets.key(node)?,
        evaluation: Rc::clone(evaluations.newest_load()?),
        batches: Some(evaluations.loads()),
        numbers: evaluations.load_numbers(),
    })
}
