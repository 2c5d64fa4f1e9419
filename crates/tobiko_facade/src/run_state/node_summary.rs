//! The evaluations of one node in one remote run, summarized as they come in: however many batches a node has, no more is kept
//! than what its verdict and its report need.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use jiff::Timestamp;
use tobiko_client::{AuditEvaluation, Evaluation};

use super::asset_map::AssetMap;
use super::evaluation_state::{EvaluationState, has_started};
use crate::report::events::{CheckResult, LoadNumbers, Severity};

/// Takes each evaluation once: a list that changes while it is sent page by page may hold one twice. The ended one counts.
#[derive(Default)]
pub struct NodeSummaryBuilder {
    summary: Box<NodeSummary>,
    ended_ids: HashSet<String>,
    /// By id, with its position in the list.
    open: HashMap<String, (usize, Evaluation)>,
}

/// What many evaluations of a node amount to.
#[derive(Default)]
pub struct NodeSummary {
    counts: Counts,
    pub last_failed: Option<Rc<Evaluation>>,
    pub last_stopped: Option<Rc<Evaluation>>,
    pub last_unclear: Option<Rc<Evaluation>>,
    /// The last in the list that did not end well.
    last_bad: Option<(usize, Rc<Evaluation>)>,
    newest: Option<(Age, Rc<Evaluation>)>,
    /// Of those that ended well and loaded something.
    newest_load: Option<(Age, Rc<Evaluation>)>,
    load_numbers: Option<LoadNumbers>,
    only_audits: usize,
    first_started: Option<(Age, Rc<Evaluation>)>,
    pub start_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    checks: Vec<(usize, CheckResult)>,
    /// All of them.
    pub evaluation_ids: Vec<String>,
}

/// How many evaluations stand how.
#[derive(Default)]
struct Counts {
    succeeded: usize,
    skipped: usize,
    failed: usize,
    stopped: usize,
    unclear: usize,
    open: usize,
}

/// The time of an evaluation and its position in the list; of equal times, the later position is the newer. An evaluation
/// without an end counts by its start.
type Age = (Option<Timestamp>, usize);

impl NodeSummaryBuilder {
    /// `evaluation` is one of `node`, at that position of the list.
    pub fn add(&mut self, assets: &AssetMap, node: &str, position: usize, evaluation: Evaluation) {
        if self.ended_ids.contains(&evaluation.evaluation_id) {
            return;
        }
        let first = self.open.remove(&evaluation.evaluation_id).map_or(position, |(position, _)| position);
        if EvaluationState::of(&evaluation) == EvaluationState::Open {
            self.open.insert(evaluation.evaluation_id.clone(), (first, evaluation));
        } else {
            self.ended_ids.insert(evaluation.evaluation_id.clone());
            self.summary.add(assets, node, first, evaluation);
        }
    }

    pub fn build(self, assets: &AssetMap, node: &str) -> Box<NodeSummary> {
        let mut summary = self.summary;
        summary.evaluation_ids = self.ended_ids.into_iter().collect();
        for (id, (position, evaluation)) in self.open {
            summary.evaluation_ids.push(id);
            summary.add(assets, node, position, evaluation);
        }
        summary.evaluation_ids.sort_unstable();
        summary
    }
}

impl Counts {
    fn of(&self, state: EvaluationState) -> usize {
        match state {
            EvaluationState::Succeeded => self.succeeded,
            EvaluationState::Skipped => self.skipped,
            EvaluationState::Failed => self.failed,
            EvaluationState::Stopped => self.stopped,
            EvaluationState::Unclear => self.unclear,
            EvaluationState::Open => self.open,
        }
    }

    fn add(&mut self, state: EvaluationState) {
        *match state {
            EvaluationState::Succeeded => &mut self.succeeded,
            EvaluationState::Skipped => &mut self.skipped,
            EvaluationState::Failed => &mut self.failed,
            EvaluationState::Stopped => &mut self.stopped,
            EvaluationState::Unclear => &mut self.unclear,
            EvaluationState::Open => &mut self.open,
        } += 1;
    }

    fn all(&self) -> usize {
        self.succeeded + self.skipped + self.failed + self.stopped + self.unclear + self.open
    }
}

impl NodeSummary {
    /// Those of one node, in the order of the list.
    pub fn of(assets: &AssetMap, node: &str, evaluations: impl IntoIterator<Item = Evaluation>) -> Self {
        let mut summary = Self::default();
        for (position, evaluation) in evaluations.into_iter().enumerate() {
            summary.evaluation_ids.push(evaluation.evaluation_id.clone());
            summary.add(assets, node, position, evaluation);
        }
        summary
    }

    /// How many evaluations there are.
    pub fn len(&self) -> usize {
        self.counts.all()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stand so.
    pub fn count(&self, state: EvaluationState) -> usize {
        self.counts.of(state)
    }

    pub fn has(&self, state: EvaluationState) -> bool {
        self.count(state) > 0
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

    /// How many evaluations did more than to audit.
    pub fn loads(&self) -> usize {
        self.len() - self.only_audits
    }

    /// The newest of those that ended well and loaded something.
    pub fn newest_load(&self) -> Option<&Rc<Evaluation>> {
        self.newest_load.as_ref().map(|(_, evaluation)| evaluation)
    }

    /// What those that ended well and loaded something add up to.
    pub fn load_numbers(&self) -> LoadNumbers {
        self.load_numbers.unwrap_or_default()
    }

    /// Each audit once: the worst result wins, of equals the latest.
    pub fn into_checks(self) -> Vec<CheckResult> {
        self.checks.into_iter().map(|(_, result)| result).collect()
    }

    fn add(&mut self, assets: &AssetMap, node: &str, position: usize, mut evaluation: Evaluation) {
        let state = EvaluationState::of(&evaluation);
        self.counts.add(state);
        self.start_at = least(self.start_at, evaluation.start_at);
        self.end_at = self.end_at.max(evaluation.end_at);
        let is_load = state == EvaluationState::Succeeded && !evaluation.only_audits;
        if is_load {
            let numbers = load_numbers(&evaluation);
            self.load_numbers = Some(self.load_numbers.map_or(numbers, |before| added(before, numbers)));
        }
        let audits = std::mem::take(&mut evaluation.audits);
        if self.checks.is_empty() {
            // Nearly always that is all: there may be ten thousand such nodes.
            self.checks.reserve_exact(audits.len());
        }
        self.add_checks(assets, node, position, &evaluation, state, &audits);
        // It is not reported, and it may be long.
        evaluation.log = None;

        let evaluation = Rc::new(evaluation);
        let age = (evaluation.end_at.or(evaluation.start_at), position);
        let is_newer = |than: &Option<(Age, Rc<Evaluation>)>| than.as_ref().is_none_or(|(other, _)| age > *other);
        if is_newer(&self.newest) {
            self.newest = Some((age, Rc::clone(&evaluation)));
        }
        self.only_audits += usize::from(evaluation.only_audits);
        if is_load && is_newer(&self.newest_load) {
            self.newest_load = Some((age, Rc::clone(&evaluation)));
        }
        let start = (evaluation.start_at, position);
        if has_started(&evaluation) && self.first_started.as_ref().is_none_or(|(other, _)| start < *other) {
            self.first_started = Some((start, Rc::clone(&evaluation)));
        }
        let is_bad = !matches!(state, EvaluationState::Succeeded | EvaluationState::Skipped);
        if is_bad && self.last_bad.as_ref().is_none_or(|(other, _)| position > *other) {
            self.last_bad = Some((position, Rc::clone(&evaluation)));
        }
        match state {
            EvaluationState::Failed => self.last_failed = Some(evaluation),
            EvaluationState::Stopped => self.last_stopped = Some(evaluation),
            EvaluationState::Unclear => self.last_unclear = Some(evaluation),
            EvaluationState::Succeeded | EvaluationState::Skipped | EvaluationState::Open => {}
        }
    }

    fn add_checks(
        &mut self,
        assets: &AssetMap,
        node: &str,
        position: usize,
        evaluation: &Evaluation,
        state: EvaluationState,
        audits: &[AuditEvaluation],
    ) {
        for audit in audits {
            for (key, name) in assets.checks(node, audit) {
                self.add_check(position, check_result(evaluation, state, audit, key, name));
            }
        }
        // A standalone audit's evaluation is its result, also where no record of the audit came with it.
        let is_result = matches!(state, EvaluationState::Succeeded | EvaluationState::Failed);
        if let (Some(covered), true, true) = (assets.covered(node), audits.is_empty(), is_result) {
            let audit = AuditEvaluation {
                execution_time: evaluation.end_at,
                link: evaluation.link.clone(),
                log_link: evaluation.log_link.clone(),
                duration_seconds: evaluation.duration_s(),
                ..AuditEvaluation::default()
            };
            for (key, name) in covered.iter().cloned() {
                let result = check_result(evaluation, state, &audit, key, name);
                self.add_check(position, CheckResult { passed: state == EvaluationState::Succeeded, ..result });
            }
        }
    }

    fn add_check(&mut self, position: usize, result: CheckResult) {
        let same = |(_, other): &&mut (usize, CheckResult)| other.name == result.name && other.key == result.key;
        match self.checks.iter_mut().find(same) {
            Some((earlier, other)) => {
                if (badness(&result), position) >= (badness(other), *earlier) {
                    (*earlier, *other) = (position, result);
                }
            }
            None => self.checks.push((position, result)),
        }
    }
}

fn check_result(
    evaluation: &Evaluation,
    state: EvaluationState,
    audit: &AuditEvaluation,
    key: Rc<[String]>,
    name: String,
) -> CheckResult {
    CheckResult {
        key,
        name,
        passed: audit.passed(),
        severity: if state == EvaluationState::Failed { Severity::Error } else { Severity::Warn },
        evaluation_id: evaluation.evaluation_id.clone(),
        link: audit.link.clone().or_else(|| evaluation.link.clone()),
        log_link: audit.log_link.clone().or_else(|| evaluation.log_link.clone()),
        executed_at: audit.execution_time.or(evaluation.end_at),
        interval_start: audit.interval_start,
        interval_end: audit.interval_end,
        duration_s: audit.duration_seconds,
        failing_rows: audit.failing_rows,
        blocking: audit.blocking,
        arguments: audit.args.clone(),
        query: audit.query().map(str::to_owned),
    }
}

fn load_numbers(evaluation: &Evaluation) -> LoadNumbers {
    LoadNumbers {
        duration_s: evaluation.duration_s(),
        interval: evaluation.interval(),
        rows: evaluation.rows_processed,
    }
}

fn added(one: LoadNumbers, other: LoadNumbers) -> LoadNumbers {
    let span = |(one, other): ((Timestamp, Timestamp), _)| {
        let (start, end): (Timestamp, Timestamp) = other;
        (one.0.min(start), one.1.max(end))
    };
    LoadNumbers {
        duration_s: one.duration_s.zip(other.duration_s).map(|(one, other)| one + other),
        interval: one.interval.zip(other.interval).map(span),
        rows: one.rows.zip(other.rows).map(|(one, other)| one.saturating_add(other)),
    }
}

/// Passed, then failed as a warning, then failed as an error.
fn badness(result: &CheckResult) -> (bool, Severity) {
    if result.passed { (false, Severity::Warn) } else { (true, result.severity) }
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
    use crate::testing::{at, evaluation};

    /// The batches of a node by number and status, as a list has them.
    fn summary(list: &[(usize, &str)]) -> Box<NodeSummary> {
        let assets = AssetMap::new(&Manifest::new("prod", None, None), None);
        let mut builder = NodeSummaryBuilder::default();
        for (position, (n, status)) in list.iter().enumerate() {
            builder.add(&assets, "a", position, evaluation("a", *n, status));
        }
        builder.build(&assets, "a")
    }

    fn id(evaluation: Option<&Evaluation>) -> &str {
        evaluation.map_or("none", |evaluation| evaluation.evaluation_id.as_str())
    }

    #[test]
    fn an_evaluation_listed_twice_counts_once_and_as_ended() {
        let check = |list: &[(usize, &str)], expected: [usize; 3]| {
            let summary = summary(list);
            let counts =
                [summary.len(), summary.count(EvaluationState::Succeeded), summary.count(EvaluationState::Open)];
            assert_eq!(counts, expected, "{list:?}");
            assert_eq!(summary.evaluation_ids.len(), summary.len(), "{list:?}");
        };
        check(&[], [0, 0, 0]);
        check(&[(0, "success"), (0, "success")], [1, 1, 0]);
        check(&[(0, "in_progress"), (0, "success")], [1, 1, 0]);
        check(&[(0, "success"), (0, "in_progress")], [1, 1, 0]);
        check(&[(0, "scheduled"), (0, "in_progress")], [1, 0, 1]);
        check(&[(0, "in_progress"), (1, "in_progress"), (0, "success"), (1, "in_progress")], [2, 1, 1]);
    }

    #[test]
    fn of_several_bad_ones_the_last_in_the_list_counts() {
        let check = |list: &[(usize, &str)], expected: &str| {
            assert_eq!(id(summary(list).last_bad()), expected, "{list:?}");
        };
        check(&[(0, "failed:x"), (1, "failed:y"), (2, "success")], "a-1");
        check(&[(1, "failed:x"), (0, "failed:y")], "a-0");
        check(&[(0, "in_progress"), (1, "failed:x")], "a-1");
        check(&[(1, "failed:x"), (0, "in_progress")], "a-0");
        check(&[(0, "success"), (1, "skipped")], "none");
    }

    #[test]
    fn numbers_are_summed_over_the_batches_and_left_out_where_one_is_not_known() {
        let assets = AssetMap::new(&Manifest::new("prod", None, None), None);
        let batch = |n: usize, rows: Option<u64>| Evaluation {
            interval_start: Some(at(100 * i64::try_from(n).unwrap())),
            interval_end: Some(at(100 * i64::try_from(n).unwrap() + 100)),
            rows_processed: rows,
            ..evaluation("a", n, "success")
        };
        let numbers = |list: Vec<Evaluation>| NodeSummary::of(&assets, "a", list).load_numbers();
        let all = numbers(vec![batch(1, Some(5)), batch(0, Some(7))]);
        let expected = LoadNumbers { duration_s: Some(10.0), interval: Some((at(0), at(200))), rows: Some(12) };
        assert_eq!(all, expected);
        let only_audits = Evaluation { only_audits: true, ..batch(5, None) };
        assert_eq!(numbers(vec![batch(1, Some(5)), batch(0, Some(7)), only_audits]), expected);
        assert_eq!(numbers(vec![batch(0, None), batch(1, Some(5)), batch(2, Some(5))]).rows, None);
        let without_start = Evaluation { start_at: None, interval_end: None, ..batch(1, Some(5)) };
        let some = LoadNumbers { duration_s: None, interval: None, rows: Some(12) };
        assert_eq!(numbers(vec![batch(0, Some(7)), without_start]), some);
        assert_eq!(numbers(Vec::new()), LoadNumbers::default());
    }

    #[test]
    fn the_first_and_the_newest_go_by_time() {
        let check = |list: &[(usize, &str)], expected: [&str; 3]| {
            let summary = summary(list);
            let ids = [id(summary.first_started()), id(summary.newest()), id(summary.newest_load().map(AsRef::as_ref))];
            assert_eq!(ids, expected, "{list:?}");
        };
        check(&[(1, "success"), (0, "success"), (2, "failed")], ["a-0", "a-2", "a-1"]);
        check(&[(2, "in_progress"), (1, "success"), (0, "scheduled")], ["a-1", "a-2", "a-1"]);
        check(&[(0, "scheduled")], ["none", "a-0", "none"]);
    }
}
