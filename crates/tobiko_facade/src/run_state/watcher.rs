//! Turns successive snapshots of a remote run into events. Pure: the caller fetches the snapshots and reports the events.
//!
//! Each poll is three steps: `snapshot` collects the run's evaluations, `diff` compares them with what was reported before,
//! and `into_events` makes the events of the difference.

use std::collections::{HashMap, HashSet};

use tobiko_client::{Evaluation, Run};

use super::asset_map::AssetMap;
use super::evaluation_state::has_started;
use super::node_summary::{NodeSummary, NodeSummaryBuilder};
use super::task::task;
use super::verdict::{NotDueReason, TaskState, Verdict, judge};
use crate::manifest::{Manifest, Node};
use crate::report::events::Event;

/// What has been reported of a run so far, and what is needed to report the rest.
pub struct Watcher {
    assets: AssetMap,
    nodes: HashMap<String, DagNode>,
    /// All nodes that have a task, upstream first; those that only the run knows come last.
    order: Vec<String>,
    reported: HashMap<String, Reported>,
    /// Without a DAG nobody knows which nodes were removed from it.
    has_dag: bool,
    /// Whether the cloud announces, a moment after a run has started, what it will evaluate.
    cloud_announces: bool,
}

/// A node of the environment's DAG.
struct DagNode {
    parents: Vec<String>,
    is_seed_or_external: bool,
}

/// What was reported of one node.
#[derive(Default)]
struct Reported {
    started: bool,
    decided: bool,
    evaluation_ids: HashSet<String>,
}

/// Takes the evaluations of one poll as they come in; those that were reported before are only counted.
pub struct SnapshotBuilder<'w> {
    watcher: &'w Watcher,
    snapshot: Snapshot,
}

/// What one poll has found, without what was reported before.
#[derive(Default)]
pub struct Snapshot {
    /// How many evaluations the run has, those that were reported before among them.
    pub evaluations: usize,
    nodes: HashMap<String, Box<NodeSnapshot>>,
}

struct NodeSnapshot {
    /// Position of its first evaluation in the list.
    position: usize,
    /// Whether one that was reported before has begun.
    had_started: bool,
    new: NodeSummaryBuilder,
}

/// What is new since the poll before. Events are made of it one by one: there may be ten thousand tasks.
pub struct Changes {
    started: Vec<Event>,
    ended: Vec<EndedTask>,
}

/// A task that got its verdict.
struct EndedTask {
    node: String,
    verdict: Verdict,
    evaluations: Box<NodeSummary>,
    late: bool,
}

impl Watcher {
    /// Watches the nodes of `manifest`, and those of `job` that it no longer has.
    pub fn new(manifest: &Manifest, prefix: Option<&str>, job: &[String]) -> Self {
        let mut order = upstream_first(manifest);
        let in_dag: HashSet<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
        order.extend(job.iter().filter(|name| !in_dag.contains(name.as_str())).cloned());
        let dag_node = |node: &Node| {
            let is_seed_or_external = node.is_seed_or_external();
            (node.name.clone(), DagNode { parents: node.parents.clone(), is_seed_or_external })
        };
        Self {
            assets: AssetMap::new(manifest, prefix),
            nodes: manifest.nodes.iter().map(dag_node).collect(),
            order,
            reported: HashMap::new(),
            has_dag: manifest.exists,
            cloud_announces: false,
        }
    }

    /// The cloud may announce what the run will evaluate: seeds and external models wait until it has, or until the run has
    /// evaluations without it.
    pub fn with_announcements(mut self, cloud_announces: bool) -> Self {
        self.cloud_announces = cloud_announces;
        self
    }

    /// Watches `node` alone. The nodes downstream of it still count: where one has started, `node` was not due.
    pub fn only(mut self, node: &str) -> Self {
        self.order = vec![node.to_owned()];
        self
    }

    /// How many tasks there are, as far as is known.
    pub fn tasks(&self) -> usize {
        self.order.len()
    }

    /// How many tasks have their verdict.
    pub fn decided(&self) -> usize {
        self.reported.values().filter(|reported| reported.decided).count()
    }

    /// Where the nodes' results belong.
    pub fn assets(&self) -> &AssetMap {
        &self.assets
    }

    /// Step one: to be filled with all evaluations that the run has.
    pub fn snapshot(&self) -> SnapshotBuilder<'_> {
        SnapshotBuilder { watcher: self, snapshot: Snapshot::default() }
    }

    /// Step two: what `run` and its `snapshot` say that was not reported before.
    ///
    /// `with_unknown_nodes` adds a task for each node that only the run knows.
    pub fn diff(&mut self, run: &Run, snapshot: Snapshot, with_unknown_nodes: bool) -> Changes {
        if with_unknown_nodes {
            self.add_unknown_nodes(&snapshot);
        }
        let mut nodes: HashMap<String, (bool, Box<NodeSummary>)> = HashMap::with_capacity(snapshot.nodes.len());
        for (name, node) in snapshot.nodes {
            let new = node.new.build(&self.assets, &name);
            let has_started = node.had_started || new.first_started().is_some();
            nodes.insert(name, (has_started, new));
        }
        let passed = upstream_of(&self.nodes, |name| nodes.get(name).is_some_and(|(has_started, _)| *has_started));
        let due: Option<HashSet<&str>> =
            run.due_node_names.as_ref().map(|names| names.iter().map(String::as_str).collect());
        let awaits_announcement = self.cloud_announces && snapshot.evaluations == 0 && !run.ended();
        let (mut started, mut ended) = (Vec::new(), Vec::new());
        for name in &self.order {
            let new = nodes.remove(name).map(|(_, new)| new).unwrap_or_default();
            let reported = self.reported.entry(name.clone()).or_default();
            if reported.decided && new.is_empty() {
                continue;
            }
            let not_due = match (self.nodes.get(name), &due) {
                _ if reported.decided => None,
                (None, _) => self.has_dag.then_some(NotDueReason::NotInDag),
                (Some(_), Some(due)) => (!due.contains(name.as_str())).then_some(NotDueReason::NotAnnounced),
                (Some(node), None) if node.is_seed_or_external => {
                    (!awaits_announcement).then_some(NotDueReason::SeedOrExternal)
                }
                (Some(_), None) => passed.contains(name.as_str()).then_some(NotDueReason::DownstreamStarted),
            };
            let state = judge(run, &new, not_due);
            let has_begun = !matches!(state, TaskState::Waiting | TaskState::Open { started: false });
            if has_begun && !new.is_empty() && !reported.started && !reported.decided {
                reported.started = true;
                let first = new.first_started();
                let (at, link) = (first.and_then(|e| e.start_at), first.and_then(|e| e.link.clone()));
                started.push((at, name.clone(), link, matches!(state, TaskState::Decided(_))));
            }
            if let TaskState::Decided(verdict) = state {
                let late = std::mem::replace(&mut reported.decided, true);
                reported.evaluation_ids.extend(new.evaluation_ids.iter().cloned());
                ended.push(EndedTask { node: name.clone(), verdict, evaluations: new, late });
            }
        }
        started.sort_by_key(|(at, ..)| *at);
        ended.sort_by_key(|task| task.evaluations.end_at);
        let event = |(at, node, link, ended): (_, String, _, _)| {
            let model_name = self.assets.model_name(&node).to_owned();
            Event::TaskStarted { node, model_name, link, at, ended }
        };
        let started = started.into_iter().map(event).collect();
        Changes { started, ended }
    }

    /// Adds the nodes that are not in the DAG, in the order in which the run lists them.
    fn add_unknown_nodes(&mut self, snapshot: &Snapshot) {
        let have: HashSet<&str> = self.order.iter().map(String::as_str).collect();
        let mut unknown: Vec<(usize, String)> = snapshot
            .nodes
            .iter()
            .filter(|(name, _)| !have.contains(name.as_str()))
            .map(|(name, node)| (node.position, name.clone()))
            .collect();
        unknown.sort();
        self.order.extend(unknown.into_iter().map(|(_, name)| name));
    }
}

impl Changes {
    pub fn len(&self) -> usize {
        self.started.len() + self.ended.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Step three: the events, made as they are taken.
    ///
    /// Starts come before ends; ends come in the order in which they happened, those that have no time first.
    pub fn into_events(self, assets: &AssetMap) -> impl Iterator<Item = Event> {
        self.started.into_iter().chain(self.ended.into_iter().map(|ended| {
            let mut task = task(assets, &ended.node, ended.verdict, *ended.evaluations);
            if ended.late {
                task.late = true;
                task.warnings.push("evaluated after its task had been reported as ended".to_owned());
            }
            Event::Task(Box::new(task))
        }))
    }
}

impl Extend<Evaluation> for SnapshotBuilder<'_> {
    fn extend<I: IntoIterator<Item = Evaluation>>(&mut self, evaluations: I) {
        for evaluation in evaluations {
            self.add(evaluation);
        }
    }
}

impl SnapshotBuilder<'_> {
    pub fn build(self) -> Snapshot {
        self.snapshot
    }

    fn add(&mut self, mut evaluation: Evaluation) {
        let position = self.snapshot.evaluations;
        self.snapshot.evaluations += 1;
        let name = std::mem::take(&mut evaluation.node_name);
        let reported = self.watcher.reported.get(&name);
        let was_reported = reported.is_some_and(|reported| reported.evaluation_ids.contains(&evaluation.evaluation_id));
        if !self.snapshot.nodes.contains_key(&name) {
            let empty = NodeSnapshot { position, had_started: false, new: NodeSummaryBuilder::default() };
            self.snapshot.nodes.insert(name.clone(), Box::new(empty));
        }
        let Some(node) = self.snapshot.nodes.get_mut(&name) else { return };
        if was_reported {
            node.had_started |= has_started(&evaluation);
        } else {
            node.new.add(&self.watcher.assets, &name, position, evaluation);
        }
    }
}

/// The nodes of which something downstream has started.
fn upstream_of(nodes: &HashMap<String, DagNode>, has_started: impl Fn(&str) -> bool) -> HashSet<&str> {
    let mut passed = HashSet::new();
    let mut path: Vec<&String> = nodes.keys().filter(|name| has_started(name)).collect();
    while let Some(name) = path.pop() {
        for parent in nodes.get(name).into_iter().flat_map(|node| &node.parents) {
            if passed.insert(parent.as_str()) {
                path.push(parent);
            }
        }
    }
    passed
}

/// The names of all nodes, each after its parents. The manifest has no cycles.
fn upstream_first(manifest: &Manifest) -> Vec<String> {
    let parents: HashMap<&str, &[String]> =
        manifest.nodes.iter().map(|node| (node.name.as_str(), node.parents.as_slice())).collect();
    let mut visited: HashSet<&str> = HashSet::new();
    let mut order = Vec::new();
    for node in &manifest.nodes {
        let mut path = vec![(node.name.as_str(), false)];
        while let Some((name, parents_are_done)) = path.pop() {
            if parents_are_done {
                order.push(name.to_owned());
            } else if visited.insert(name) {
                path.push((name, true));
                let parents = parents.get(name).into_iter().flat_map(|parents| parents.iter());
                path.extend(parents.map(|parent| (parent.as_str(), false)));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audit, dag, evaluation, poll, run};

    fn watcher(nodes: &[&str], job: &[&str]) -> Watcher {
        let job: Vec<String> = job.iter().map(|name| (*name).to_owned()).collect();
        Watcher::new(&Manifest::new("prod", Some(&dag(nodes)), None), None, &job)
    }

    /// Each event in short: `>a` started, `a=success` ended, `a=success!` ended late.
    fn in_short(events: &[Event]) -> String {
        let short = |event: &Event| match event {
            Event::TaskStarted { node, .. } => format!(">{node}"),
            Event::Task(task) => {
                format!("{}={}{}", task.node, task.outcome.as_str(), if task.late { "!" } else { "" })
            }
            other => panic!("a watcher makes no {other:?}"),
        };
        events.iter().map(short).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(watcher: &mut Watcher, status: &str, evaluations: &[Evaluation], expected: &str) {
        assert_eq!(in_short(&poll(watcher, &run(status), evaluations, true)), expected);
    }

    #[test]
    fn a_live_run_is_reported_as_it_goes() {
        let mut watcher = watcher(&["a", "b < a"], &[]);
        check(&mut watcher, "in_progress", &[], "");
        check(&mut watcher, "in_progress", &[evaluation("a", 0, "in_progress")], ">a");
        check(&mut watcher, "in_progress", &[evaluation("a", 0, "success")], "a=success");
        check(&mut watcher, "in_progress", &[evaluation("a", 0, "success")], "");
        check(
            &mut watcher,
            "success",
            &[evaluation("a", 0, "success"), evaluation("b", 1, "failed:x")],
            ">b b=failure",
        );
    }

    #[test]
    fn roots_that_are_not_due_do_not_hold_up_a_live_run() {
        let mut watcher = watcher(&["%seed", "daily", "mid < seed daily", "low < mid"], &[]);
        check(&mut watcher, "in_progress", &[], "seed=nothing_due");
        let low = evaluation("low", 0, "in_progress");
        check(&mut watcher, "in_progress", &[low], ">low daily=nothing_due mid=nothing_due");
    }

    fn announced(status: &str, due: &[&str]) -> Run {
        Run { due_node_names: Some(due.iter().map(|name| (*name).to_owned()).collect()), ..run(status) }
    }

    #[test]
    fn what_the_cloud_announces_is_waited_for_and_the_rest_is_not() {
        let nodes = ["%seed", "^external", "a < seed", "b < external"];
        let mut watcher = watcher(&nodes, &[]);
        let run = |status| announced(status, &["external", "a"]);
        assert_eq!(in_short(&poll(&mut watcher, &run("in_progress"), &[], true)), "seed=nothing_due b=nothing_due");
        let a = [evaluation("a", 0, "in_progress")];
        assert_eq!(in_short(&poll(&mut watcher, &run("in_progress"), &a, true)), ">a");
        let both = [evaluation("a", 0, "success"), evaluation("external", 1, "failed:audit")];
        let events = poll(&mut watcher, &run("failed:1 failed"), &both, true);
        assert_eq!(in_short(&events), ">external a=success external=failure");
    }

    #[test]
    fn what_was_not_due_is_no_victim_of_a_failed_run() {
        let events = poll(&mut watcher(&["a", "b"], &[]), &announced("failed:crashed", &["b"]), &[], true);
        assert_eq!(in_short(&events), "a=nothing_due b=skipped");
    }

    #[test]
    fn seeds_wait_for_an_announcement_until_the_run_has_evaluations() {
        let mut watcher = watcher(&["%seed", "a", "b < seed"], &[]).with_announcements(true);
        check(&mut watcher, "in_progress", &[], "");
        check(&mut watcher, "in_progress", &[evaluation("a", 0, "in_progress")], ">a seed=nothing_due");
    }

    #[test]
    fn what_was_only_audited_is_not_materialized() {
        let external = one_task(&["^a"], "success", &[evaluation("a", 0, "success")]);
        assert_eq!((external.outcome.as_str(), external.materialization), ("success", None));
        let audited =
            |n| Evaluation { only_audits: true, audits: vec![audit("x", true)], ..evaluation("a", n, "success") };
        let task = one_task(&["a"], "success", &[audited(0)]);
        assert_eq!((task.outcome.as_str(), task.materialization, task.checks.len()), ("success", None, 1));
        let materialization = one_task(&["a"], "success", &[evaluation("a", 0, "success"), audited(1)]).materialization;
        let materialization = materialization.expect("one that loaded");
        assert_eq!((materialization.evaluation.evaluation_id.as_str(), materialization.batches), ("a-0", Some(1)));
    }

    #[test]
    fn what_is_planned_has_not_started() {
        let mut watcher = watcher(&["a", "b < a"], &[]);
        check(&mut watcher, "in_progress", &[evaluation("b", 0, "scheduled")], "");
        check(
            &mut watcher,
            "in_progress",
            &[evaluation("a", 0, "success"), evaluation("b", 1, "scheduled")],
            ">a a=success",
        );
    }

    #[test]
    fn an_evaluation_after_the_verdict_is_reported_as_late() {
        let mut watcher = watcher(&["a", "b < a"], &[]);
        let b = evaluation("b", 0, "in_progress");
        check(&mut watcher, "in_progress", std::slice::from_ref(&b), ">b a=nothing_due");
        check(&mut watcher, "in_progress", &[b.clone(), evaluation("a", 1, "in_progress")], "");
        check(&mut watcher, "failed:crashed", &[b, evaluation("a", 1, "in_progress")], "a=failure! b=failure");
    }

    #[test]
    fn a_model_that_the_job_does_not_know_is_reported_too() {
        let mut watcher = watcher(&["a"], &["a"]);
        check(&mut watcher, "success", &[evaluation("new", 0, "success")], ">new a=nothing_due new=success");
    }

    #[test]
    fn a_removed_model_waits_for_nothing() {
        let mut watcher = watcher(&["a"], &["a", "gone"]);
        check(&mut watcher, "in_progress", &[], "gone=nothing_due");
    }

    #[test]
    fn a_crashed_run_leaves_nothing_open() {
        let mut watcher = watcher(&["a", "b < a", "c < b"], &[]);
        let evaluations = [evaluation("a", 0, "success"), evaluation("b", 1, "in_progress")];
        check(&mut watcher, "failed:crashed", &evaluations, ">a >b b=failure c=skipped a=success");
    }

    #[test]
    fn one_node_alone_still_counts_what_is_downstream() {
        let mut watcher = watcher(&["a", "b < a"], &[]).only("a");
        assert_eq!(
            in_short(&poll(&mut watcher, &run("in_progress"), &[evaluation("b", 0, "in_progress")], false)),
            "a=nothing_due"
        );
        assert_eq!(watcher.decided(), watcher.tasks());
    }

    #[track_caller]
    fn one_task(nodes: &[&str], status: &str, evaluations: &[Evaluation]) -> crate::report::events::Task {
        let events = poll(&mut watcher(nodes, &[]), &run(status), evaluations, true);
        let mut tasks = events.into_iter().filter_map(|event| match event {
            Event::Task(task) if !task.evaluation_ids.is_empty() => Some(*task),
            _ => None,
        });
        let task = tasks.next().expect("a task");
        assert!(tasks.next().is_none());
        task
    }

    #[test]
    fn batches_become_one_materialization_and_each_audit_once_the_worst_wins() {
        let mut first = evaluation("a", 0, "success");
        first.audits = vec![audit("not_null", false), audit("unique", true)];
        let mut second = evaluation("a", 1, "success");
        second.audits = vec![audit("not_null", true), audit("accepted", true)];
        let task = one_task(&["a"], "success", &[second, first]);
        let materialization = task.materialization.unwrap();
        assert_eq!((materialization.evaluation.evaluation_id.as_str(), materialization.batches), ("a-1", Some(2)));
        let mut checks: Vec<_> = task.checks.iter().map(|c| (c.name.as_str(), c.passed, c.severity)).collect();
        checks.sort_by_key(|(name, ..)| *name);
        let warn = crate::report::events::Severity::Warn;
        assert_eq!(checks, [("accepted", true, warn), ("not_null", false, warn), ("unique", true, warn)]);
    }

    #[test]
    fn a_failure_reports_its_audits_as_errors_and_materializes_nothing() {
        let mut failed = evaluation("a", 0, "failed:audit not_null failed");
        failed.audits = vec![audit("not_null", false)];
        let task = one_task(&["a"], "failed:x", &[failed]);
        assert_eq!(task.materialization, None);
        assert_eq!(task.reason.as_deref(), Some("audit not_null failed"));
        assert_eq!(task.link.as_deref(), Some("http://debugger/a-0"));
        assert_eq!((task.checks[0].passed, task.checks[0].severity), (false, crate::report::events::Severity::Error));
    }

    #[test]
    fn a_standalone_audit_checks_its_models_with_and_without_a_record_of_its_own() {
        let mut with = evaluation("balanced", 0, "success");
        with.audits = vec![audit("balanced", false)];
        for (evaluation, passed) in [(with, false), (evaluation("balanced", 0, "success"), true)] {
            let task = one_task(&["a", "b", "~balanced < a b"], "success", &[evaluation]);
            assert_eq!((task.key, task.materialization), (None, None));
            let checks: Vec<_> = task.checks.iter().map(|c| (c.key.join("/"), c.name.as_str(), c.passed)).collect();
            assert_eq!(checks, [("a".to_owned(), "balanced", passed), ("b".to_owned(), "balanced", passed)]);
        }
    }
}
