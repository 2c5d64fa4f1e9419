//! From a node's evaluations to what Dagster shows for them: one materialization, each audit once.

use std::collections::HashMap;

use tobiko_cloud::{AuditEvaluation, Evaluation};

use crate::events::{CheckResult, Materialization, Severity, Task};
use crate::manifest::Manifest;
use crate::names::{check_name, key_parts};
use crate::verdict::{Ended, Outcome, Verdict, ended};

/// Where a node's results belong in Dagster.
#[derive(Debug)]
pub struct Places {
    prefix: Option<String>,
    models: HashMap<String, Vec<String>>,
    /// (model, audit) to the check's name.
    checks: HashMap<(String, String), String>,
    /// A standalone audit to the assets that it checks, with the check's name there.
    covered: HashMap<String, Vec<(Vec<String>, String)>>,
}

impl Places {
    pub fn new(manifest: &Manifest, prefix: Option<&str>) -> Self {
        let mut places = Self {
            prefix: prefix.map(str::to_owned),
            models: HashMap::new(),
            checks: HashMap::new(),
            covered: HashMap::new(),
        };
        for node in &manifest.nodes {
            let Some(key) = &node.key else {
                places.covered.entry(node.name.clone()).or_default();
                continue;
            };
            places.models.insert(node.name.clone(), key.clone());
            for check in &node.checks {
                if check.node != node.name {
                    places.covered.entry(check.node.clone()).or_default().push((key.clone(), check.name.clone()));
                }
                // A model's own audits stand before the standalone ones, which must not take their place.
                places.checks.entry((node.name.clone(), check.audit.clone())).or_insert_with(|| check.name.clone());
            }
        }
        places
    }

    /// The asset of a node; `None` for a standalone audit.
    pub fn key(&self, node: &str) -> Option<Vec<String>> {
        if self.covered.contains_key(node) {
            return None;
        }
        let stranger = || self.prefix.iter().cloned().chain(key_parts(node)).collect();
        Some(self.models.get(node).cloned().unwrap_or_else(stranger))
    }

    /// The checks that a result of `audit`, found in an evaluation of `node`, is for.
    fn checks(&self, node: &str, audit: &str) -> Vec<(Vec<String>, String)> {
        if let Some(covered) = self.covered.get(node) {
            return covered.clone();
        }
        let known = self.checks.get(&(node.to_owned(), audit.to_owned())).cloned();
        self.key(node).map(|key| (key, known.unwrap_or_else(|| check_name(audit)))).into_iter().collect()
    }
}

/// The task of `node`, judged by `verdict` from `evaluations`.
pub fn task(places: &Places, node: &str, verdict: Verdict, evaluations: &[&Evaluation]) -> Task {
    let told = match verdict.outcome {
        Outcome::Failure => evaluations.iter().rfind(|e| !matches!(ended(e), Ended::Well | Ended::Skipped)),
        _ => None,
    }
    .or_else(|| newest(evaluations));
    // A success with an evaluation of which nobody knows how it ended shows nothing as fresh.
    let all_well = evaluations.iter().all(|e| matches!(ended(e), Ended::Well | Ended::Skipped));
    let materialization = match verdict.outcome {
        Outcome::Success if all_well => materialization(places, node, evaluations),
        _ => None,
    };
    let checks = match verdict.outcome {
        Outcome::Success | Outcome::Failure => checks(places, node, evaluations),
        Outcome::NothingDue | Outcome::Skipped => Vec::new(),
    };
    Task {
        node: node.to_owned(),
        key: places.key(node),
        outcome: verdict.outcome,
        reason: verdict.reason,
        link: told.and_then(|evaluation| evaluation.link.clone()),
        log_link: told.and_then(|evaluation| evaluation.log_link.clone()),
        warnings: verdict.warning.into_iter().collect(),
        evaluation_ids: evaluations.iter().map(|evaluation| evaluation.evaluation_id.clone()).collect(),
        late: false,
        start_at: evaluations.iter().filter_map(|evaluation| evaluation.start_at).min(),
        end_at: evaluations.iter().filter_map(|evaluation| evaluation.end_at).max(),
        materialization,
        checks,
    }
}

/// From the evaluation that ended last, of those that ended well.
pub fn materialization(places: &Places, node: &str, evaluations: &[&Evaluation]) -> Option<Materialization> {
    let well: Vec<&Evaluation> = evaluations.iter().copied().filter(|e| ended(e) == Ended::Well).collect();
    let last = newest(&well)?;
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

/// Each audit once, merged over the evaluations: the worst result wins, of equals the latest.
pub fn checks(places: &Places, node: &str, evaluations: &[&Evaluation]) -> Vec<CheckResult> {
    let mut merged: Vec<CheckResult> = Vec::new();
    let mut at: HashMap<(Vec<String>, String), usize> = HashMap::new();
    let mut add = |result: CheckResult| match at.get(&(result.key.clone(), result.name.clone())) {
        Some(at) if badness(&result) >= badness(&merged[*at]) => merged[*at] = result,
        Some(_) => {}
        None => {
            at.insert((result.key.clone(), result.name.clone()), merged.len());
            merged.push(result);
        }
    };
    for evaluation in evaluations {
        let standing = ended(evaluation);
        for audit in &evaluation.audits {
            for (key, name) in places.checks(node, &audit.name) {
                add(check_result(evaluation, audit, key, name));
            }
        }
        // A standalone audit's evaluation is its result, also where no record of the audit came with it.
        let is_result = matches!(standing, Ended::Well | Ended::Failed);
        if let (Some(covered), true, true) = (places.covered.get(node), evaluation.audits.is_empty(), is_result) {
            let audit = AuditEvaluation {
                execution_time: evaluation.end_at,
                link: evaluation.link.clone(),
                log_link: evaluation.log_link.clone(),
                ..AuditEvaluation::default()
            };
            for (key, name) in covered.clone() {
                add(CheckResult { passed: standing == Ended::Well, ..check_result(evaluation, &audit, key, name) });
            }
        }
    }
    merged
}

fn check_result(evaluation: &Evaluation, audit: &AuditEvaluation, key: Vec<String>, name: String) -> CheckResult {
    CheckResult {
        key,
        name,
        passed: audit.passed(),
        severity: if ended(evaluation) == Ended::Failed { Severity::Error } else { Severity::Warn },
        evaluation_id: evaluation.evaluation_id.clone(),
        link: audit.link.clone().or_else(|| evaluation.link.clone()),
        log_link: audit.log_link.clone().or_else(|| evaluation.log_link.clone()),
        executed_at: audit.execution_time.or(evaluation.end_at),
        interval_start: audit.interval_start,
        interval_end: audit.interval_end,
    }
}

/// Passed, then failed as a warning, then failed as an error.
fn badness(result: &CheckResult) -> (bool, Severity) {
    match result.passed {
        true => (false, Severity::Warn),
        false => (true, result.severity),
    }
}

/// The evaluation that ended last; one without an end counts by its start, the later in the list wins.
pub fn newest<'a, 'b>(evaluations: &'b [&'a Evaluation]) -> Option<&'b &'a Evaluation> {
    evaluations.iter().max_by_key(|evaluation| evaluation.end_at.or(evaluation.start_at))
}
