//! The evaluations of one node in one remote run, merged as they come in: however many batches a node has, no more is kept
//! than what its verdict and the telling of it need.

use std::collections::HashMap;
use std::rc::Rc;

use jiff::Timestamp;
use tobiko_client::{AuditEvaluation, Evaluation};

use super::asset_map::Places;
use super::evaluation_state::{Ended, ended, started};
use crate::report::events::{CheckResult, Severity};

/// Each evaluation once: an answer that changes while it is sent page by page may hold one twice. The ended one counts.
#[derive(Default)]
pub struct Batches {
    merged: Box<Merged>,
    /// By id: where it stands here if it is open.
    ids: HashMap<String, Option<usize>>,
    open: Vec<(usize, Evaluation)>,
}

/// What many evaluations of a node amount to. `at` is an evaluation's place in the answer.
#[derive(Default)]
pub struct Merged {
    /// By how they stand.
    counts: [usize; Ended::Open as usize + 1],
    pub last_failed: Option<Rc<Evaluation>>,
    pub last_stopped: Option<Rc<Evaluation>>,
    pub last_unclear: Option<Rc<Evaluation>>,
    /// The last that did not end well.
    last_bad: Option<(usize, Rc<Evaluation>)>,
    newest: Option<(Age, Rc<Evaluation>)>,
    newest_well: Option<(Age, Rc<Evaluation>)>,
    first_started: Option<(Age, Rc<Evaluation>)>,
    pub start_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    checks: Vec<(usize, CheckResult)>,
    /// All of them.
    pub evaluation_ids: Vec<String>,
}

/// One without an end counts by its start; of equals, the later in the answer is the newer.
type Age = (Option<Timestamp>, usize);

impl Batches {
    /// `evaluation` is one of `node`, and comes `at` this place in the answer.
    pub fn add(&mut self, places: &Places, node: &str, at: usize, evaluation: Evaluation) {
        let is_open = ended(&evaluation) == Ended::Open;
        match self.ids.get_mut(&evaluation.evaluation_id) {
            Some(None) => {}
            Some(Some(place)) if is_open => self.open[*place].1 = evaluation,
            Some(place) => {
                let at = place.take().map_or(at, |place| std::mem::take(&mut self.open[place]).0);
                self.merged.add(places, node, at, evaluation);
            }
            None => {
                self.ids.insert(evaluation.evaluation_id.clone(), is_open.then_some(self.open.len()));
                match is_open {
                    true => self.open.push((at, evaluation)),
                    false => self.merged.add(places, node, at, evaluation),
                }
            }
        }
    }

    pub fn merged(mut self, places: &Places, node: &str) -> Box<Merged> {
        for (at, evaluation) in self.open {
            // What has ended meanwhile left its place empty.
            if !evaluation.evaluation_id.is_empty() {
                self.merged.add(places, node, at, evaluation);
            }
        }
        self.merged.evaluation_ids = self.ids.into_keys().collect();
        self.merged.evaluation_ids.sort_unstable();
        self.merged
    }
}

impl Merged {
    /// Those of one node, in the order of the answer.
    pub fn of(places: &Places, node: &str, evaluations: impl IntoIterator<Item = Evaluation>) -> Self {
        let mut merged = Self::default();
        for (at, evaluation) in evaluations.into_iter().enumerate() {
            merged.evaluation_ids.push(evaluation.evaluation_id.clone());
            merged.add(places, node, at, evaluation);
        }
        merged
    }

    /// How many evaluations there are.
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stand so.
    pub fn count(&self, ended: Ended) -> usize {
        self.counts[ended as usize]
    }

    pub fn has(&self, ended: Ended) -> bool {
        self.count(ended) > 0
    }

    /// The first that has begun.
    pub fn first_started(&self) -> Option<&Evaluation> {
        self.first_started.as_ref().map(|(_, evaluation)| evaluation.as_ref())
    }

    /// The last that did not end well.
    pub fn last_bad(&self) -> Option<&Evaluation> {
        self.last_bad.as_ref().map(|(_, evaluation)| evaluation.as_ref())
    }

    pub fn newest(&self) -> Option<&Evaluation> {
        self.newest.as_ref().map(|(_, evaluation)| evaluation.as_ref())
    }

    /// The newest of those that ended well.
    pub fn newest_well(&self) -> Option<&Evaluation> {
        self.newest_well.as_ref().map(|(_, evaluation)| evaluation.as_ref())
    }

    /// Each audit once: the worst result wins, of equals the latest.
    pub fn into_checks(self) -> Vec<CheckResult> {
        self.checks.into_iter().map(|(_, result)| result).collect()
    }

    fn add(&mut self, places: &Places, node: &str, at: usize, mut evaluation: Evaluation) {
        let stands = ended(&evaluation);
        self.counts[stands as usize] += 1;
        self.start_at = least(self.start_at, evaluation.start_at);
        self.end_at = self.end_at.max(evaluation.end_at);
        let audits = std::mem::take(&mut evaluation.audits);
        if self.checks.is_empty() {
            // Nearly always that is all: there may be ten thousand such nodes.
            self.checks.reserve_exact(audits.len());
        }
        self.add_checks(places, node, at, &evaluation, stands, &audits);
        // Nobody tells it, and it may be long.
        evaluation.log = None;

        let evaluation = Rc::new(evaluation);
        let age = (evaluation.end_at.or(evaluation.start_at), at);
        let newer = |than: &Option<(Age, Rc<Evaluation>)>| than.as_ref().is_none_or(|(other, _)| age > *other);
        if newer(&self.newest) {
            self.newest = Some((age, Rc::clone(&evaluation)));
        }
        if stands == Ended::Well && newer(&self.newest_well) {
            self.newest_well = Some((age, Rc::clone(&evaluation)));
        }
        let start = (evaluation.start_at, at);
        if started(&evaluation) && self.first_started.as_ref().is_none_or(|(other, _)| start < *other) {
            self.first_started = Some((start, Rc::clone(&evaluation)));
        }
        if !matches!(stands, Ended::Well | Ended::Skipped)
            && self.last_bad.as_ref().is_none_or(|(other, _)| at > *other)
        {
            self.last_bad = Some((at, Rc::clone(&evaluation)));
        }
        match stands {
            Ended::Failed => self.last_failed = Some(evaluation),
            Ended::Stopped => self.last_stopped = Some(evaluation),
            Ended::Unclear => self.last_unclear = Some(evaluation),
            Ended::Well | Ended::Skipped | Ended::Open => {}
        }
    }

    fn add_checks(
        &mut self,
        places: &Places,
        node: &str,
        at: usize,
        evaluation: &Evaluation,
        stands: Ended,
        audits: &[AuditEvaluation],
    ) {
        for audit in audits {
            for (key, name) in places.checks(node, &audit.name) {
                self.add_check(at, check_result(evaluation, stands, audit, key, name));
            }
        }
        // A standalone audit's evaluation is its result, also where no record of the audit came with it.
        let is_result = matches!(stands, Ended::Well | Ended::Failed);
        if let (Some(covered), true, true) = (places.covered(node), audits.is_empty(), is_result) {
            let audit = AuditEvaluation {
                execution_time: evaluation.end_at,
                link: evaluation.link.clone(),
                log_link: evaluation.log_link.clone(),
                ..AuditEvaluation::default()
            };
            for (key, name) in covered.iter().cloned() {
                let result = check_result(evaluation, stands, &audit, key, name);
                self.add_check(at, CheckResult { passed: stands == Ended::Well, ..result });
            }
        }
    }

    fn add_check(&mut self, at: usize, result: CheckResult) {
        let same = |(_, other): &&mut (usize, CheckResult)| other.name == result.name && other.key == result.key;
        match self.checks.iter_mut().find(same) {
            Some((place, other)) => {
                if (badness(&result), at) >= (badness(other), *place) {
                    (*place, *other) = (at, result);
                }
            }
            None => self.checks.push((at, result)),
        }
    }
}

fn check_result(
    evaluation: &Evaluation,
    stands: Ended,
    audit: &AuditEvaluation,
    key: Rc<[String]>,
    name: String,
) -> CheckResult {
    CheckResult {
        key,
        name,
        passed: audit.passed(),
        severity: if stands == Ended::Failed { Severity::Error } else { Severity::Warn },
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

fn least(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::testing::evaluation;

    /// The batches of a node by number and status, as an answer brings them.
    fn merged(answer: &[(usize, &str)]) -> Box<Merged> {
        let places = Places::new(&Manifest::new("prod", None, None), None);
        let mut batches = Batches::default();
        for (at, (n, status)) in answer.iter().enumerate() {
            batches.add(&places, "a", at, evaluation("a", *n, status));
        }
        batches.merged(&places, "a")
    }

    fn id(evaluation: Option<&Evaluation>) -> &str {
        evaluation.map_or("none", |evaluation| evaluation.evaluation_id.as_str())
    }

    #[test]
    fn what_comes_twice_counts_once_and_the_ended_one_counts() {
        let check = |answer: &[(usize, &str)], expected: [usize; 3]| {
            let merged = merged(answer);
            let counts = [merged.len(), merged.count(Ended::Well), merged.count(Ended::Open)];
            assert_eq!(counts, expected, "{answer:?}");
            assert_eq!(merged.evaluation_ids.len(), merged.len(), "{answer:?}");
        };
        check(&[], [0, 0, 0]);
        check(&[(0, "success"), (0, "success")], [1, 1, 0]);
        check(&[(0, "in_progress"), (0, "success")], [1, 1, 0]);
        check(&[(0, "success"), (0, "in_progress")], [1, 1, 0]);
        check(&[(0, "scheduled"), (0, "in_progress")], [1, 0, 1]);
        check(&[(0, "in_progress"), (1, "in_progress"), (0, "success"), (1, "in_progress")], [2, 1, 1]);
    }

    #[test]
    fn of_several_that_went_badly_the_answers_last_is_told() {
        let check = |answer: &[(usize, &str)], expected: &str| {
            assert_eq!(id(merged(answer).last_bad()), expected, "{answer:?}");
        };
        check(&[(0, "failed:x"), (1, "failed:y"), (2, "success")], "a-1");
        check(&[(1, "failed:x"), (0, "failed:y")], "a-0");
        check(&[(0, "in_progress"), (1, "failed:x")], "a-1");
        check(&[(1, "failed:x"), (0, "in_progress")], "a-0");
        check(&[(0, "success"), (1, "skipped")], "none");
    }

    #[test]
    fn the_first_and_the_newest_go_by_time() {
        let check = |answer: &[(usize, &str)], expected: [&str; 3]| {
            let merged = merged(answer);
            let found = [id(merged.first_started()), id(merged.newest()), id(merged.newest_well())];
            assert_eq!(found, expected, "{answer:?}");
        };
        check(&[(1, "success"), (0, "success"), (2, "failed")], ["a-0", "a-2", "a-1"]);
        check(&[(2, "in_progress"), (1, "success"), (0, "scheduled")], ["a-1", "a-2", "a-1"]);
        check(&[(0, "scheduled")], ["none", "a-0", "none"]);
    }
}
