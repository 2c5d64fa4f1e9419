//! Turns one look at a remote run after the other into events. It asks nobody: looks come in, events go out.

use std::collections::{HashMap, HashSet};

use tobiko_client::{Evaluation, Run};

use super::asset_map::Places;
use super::evaluation_state::started;
use super::node_summary::{Batches, Merged};
use super::task::task;
use super::verdict::{Idle, State, Verdict, judge};
use crate::manifest::Manifest;
use crate::report::events::Event;

/// What has been told of a run so far, and what is needed to tell the rest.
pub struct Watcher {
    places: Places,
    nodes: HashMap<String, Known>,
    /// All nodes that there is something to tell of, upstream first; those that only the run knows come last.
    order: Vec<String>,
    told: HashMap<String, Told>,
    /// Without a DAG nobody knows what is gone from it.
    has_dag: bool,
}

struct Known {
    parents: Vec<String>,
    never_due: bool,
}

/// Takes the evaluations of one look as they come in; what was told before is only counted.
pub struct Gathering<'w> {
    watcher: &'w Watcher,
    seen: Seen,
}

/// What one look has found.
#[derive(Default)]
pub struct Seen {
    /// How many evaluations there are.
    pub evaluations: usize,
    of_node: HashMap<String, Box<SeenOfNode>>,
}

struct SeenOfNode {
    /// The place of its first evaluation in the answer.
    at: usize,
    told_has_begun: bool,
    new: Batches,
}

/// A task that has its verdict: what there is to tell of it is put together when it is told.
struct Decided<'a> {
    node: &'a str,
    verdict: Verdict,
    new: Box<Merged>,
    late: bool,
}

#[derive(Default)]
struct Told {
    started: bool,
    decided: bool,
    evaluations: HashSet<String>,
}

impl Watcher {
    /// Watches the nodes of `manifest`, and those of `job` that it no longer has.
    pub fn new(manifest: &Manifest, prefix: Option<&str>, job: &[String]) -> Self {
        let mut order = upstream_first(manifest);
        let in_dag: HashSet<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
        order.extend(job.iter().filter(|name| !in_dag.contains(name.as_str())).cloned());
        let known = |node: &crate::manifest::Node| {
            let never_due = matches!(node.kind, Some("seed" | "table"));
            (node.name.clone(), Known { parents: node.parents.clone(), never_due })
        };
        Self {
            places: Places::new(manifest, prefix),
            nodes: manifest.nodes.iter().map(known).collect(),
            order,
            told: HashMap::new(),
            has_dag: manifest.exists,
        }
    }

    /// Watches `node` alone. What is downstream of it is still looked at, to know whether it was passed by.
    pub fn only(mut self, node: &str) -> Self {
        self.order = vec![node.to_owned()];
        self
    }

    /// How many tasks there are to tell of, as far as is known.
    pub fn tasks(&self) -> usize {
        self.order.len()
    }

    /// How many tasks have their verdict.
    pub fn decided(&self) -> usize {
        self.told.values().filter(|told| told.decided).count()
    }

    /// To be filled with all evaluations that the run has.
    pub fn gather(&self) -> Gathering<'_> {
        Gathering { watcher: self, seen: Seen::default() }
    }

    /// What `run` and `seen`, all evaluations that it has, say that was not told before.
    ///
    /// Starts come before ends; ends come in the order in which they happened, those that have no time first.
    pub fn look<'a>(
        &'a mut self,
        run: &Run,
        seen: Seen,
        watch_strangers: bool,
    ) -> impl Iterator<Item = Event> + use<'a> {
        if watch_strangers {
            self.add_strangers(&seen);
        }
        let places = &self.places;
        let merged = |(name, seen): (String, Box<SeenOfNode>)| {
            let new = seen.new.merged(places, &name);
            (name, (seen.told_has_begun || new.first_started().is_some(), new))
        };
        let mut of_node: HashMap<String, (bool, Box<Merged>)> = seen.of_node.into_iter().map(merged).collect();
        let has_begun = |name: &str| of_node.get(name).is_some_and(|(has_begun, _)| *has_begun);
        let passed = passed_by(&self.nodes, has_begun);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for name in &self.order {
            let new = of_node.remove(name).map(|(_, new)| new).unwrap_or_default();
            let told = self.told.entry(name.clone()).or_default();
            if told.decided && new.is_empty() {
                continue;
            }
            let idle = match self.nodes.get(name) {
                _ if told.decided => Idle::No,
                None if self.has_dag => Idle::Gone,
                None => Idle::No,
                Some(known) if known.never_due => Idle::NeverDue,
                Some(_) if passed.contains(name.as_str()) => Idle::Passed,
                Some(_) => Idle::No,
            };
            let state = judge(run, &new, idle);
            let has_begun = !matches!(state, State::Waiting | State::Open { started: false });
            if has_begun && !new.is_empty() && !told.started && !told.decided {
                told.started = true;
                let first = new.first_started();
                starts.push((first.and_then(|e| e.start_at), name.clone(), first.and_then(|e| e.link.clone())));
            }
            if let State::Decided(verdict) = state {
                let late = std::mem::replace(&mut told.decided, true);
                told.evaluations.extend(new.evaluation_ids.iter().cloned());
                ends.push(Decided { node: name, verdict, new, late });
            }
        }
        starts.sort_by_key(|(at, ..)| *at);
        ends.sort_by_key(|decided| decided.new.end_at);
        let starts = starts.into_iter().map(|(at, node, link)| Event::TaskStarted { node, link, at });
        starts.chain(ends.into_iter().map(|decided| {
            let mut task = task(places, decided.node, decided.verdict, *decided.new);
            if decided.late {
                task.late = true;
                task.warnings.push("evaluated after its task had been told as ended".to_owned());
            }
            Event::Task(Box::new(task))
        }))
    }

    /// Nodes that nobody knew, in the order in which the run names them.
    fn add_strangers(&mut self, seen: &Seen) {
        let have: HashSet<&str> = self.order.iter().map(String::as_str).collect();
        let mut strangers: Vec<(usize, String)> = seen
            .of_node
            .iter()
            .filter(|(name, _)| !have.contains(name.as_str()))
            .map(|(n, s)| (s.at, n.clone()))
            .collect();
        strangers.sort();
        self.order.extend(strangers.into_iter().map(|(_, name)| name));
    }
}

impl Extend<Evaluation> for Gathering<'_> {
    fn extend<I: IntoIterator<Item = Evaluation>>(&mut self, evaluations: I) {
        for mut evaluation in evaluations {
            let at = self.seen.evaluations;
            self.seen.evaluations += 1;
            let name = std::mem::take(&mut evaluation.node_name);
            let told = self.watcher.told.get(&name);
            let is_told = told.is_some_and(|told| told.evaluations.contains(&evaluation.evaluation_id));
            let add = |seen: &mut SeenOfNode, name: &str| match is_told {
                true => seen.told_has_begun |= started(&evaluation),
                false => seen.new.add(&self.watcher.places, name, at, evaluation),
            };
            match self.seen.of_node.get_mut(&name) {
                Some(seen) => add(seen, &name),
                None => {
                    let mut seen = Box::new(SeenOfNode { at, told_has_begun: false, new: Batches::default() });
                    add(&mut seen, &name);
                    self.seen.of_node.insert(name, seen);
                }
            }
        }
    }
}

impl Gathering<'_> {
    pub fn done(self) -> Seen {
        self.seen
    }
}

/// The nodes of which something downstream has begun.
fn passed_by(nodes: &HashMap<String, Known>, has_begun: impl Fn(&str) -> bool) -> HashSet<&str> {
    let mut passed = HashSet::new();
    let mut path: Vec<&String> = nodes.keys().filter(|name| has_begun(name)).collect();
    while let Some(name) = path.pop() {
        for parent in nodes.get(name).into_iter().flat_map(|known| &known.parents) {
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
        manifest.nodes.iter().map(|n| (n.name.as_str(), n.parents.as_slice())).collect();
    let mut done: HashSet<&str> = HashSet::new();
    let mut order = Vec::new();
    for node in &manifest.nodes {
        let mut path = vec![(node.name.as_str(), false)];
        while let Some((name, parents_done)) = path.pop() {
            if parents_done {
                order.push(name.to_owned());
            } else if done.insert(name) {
                path.push((name, true));
                path.extend(
                    parents.get(name).into_iter().flat_map(|p| p.iter()).map(|parent| (parent.as_str(), false)),
                );
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audit, dag, evaluation, look, run};

    fn watcher(nodes: &[&str], job: &[&str]) -> Watcher {
        let job: Vec<String> = job.iter().map(|name| (*name).to_owned()).collect();
        Watcher::new(&Manifest::new("prod", Some(&dag(nodes)), None), None, &job)
    }

    /// One word for each event: `>a` started, `a=success` ended, `a=success!` ended late.
    fn told(events: &[Event]) -> String {
        let word = |event: &Event| match event {
            Event::TaskStarted { node, .. } => format!(">{node}"),
            Event::Task(task) => {
                format!("{}={}{}", task.node, task.outcome.as_str(), if task.late { "!" } else { "" })
            }
            other => panic!("a watcher does not tell {other:?}"),
        };
        events.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(watcher: &mut Watcher, status: &str, evaluations: &[Evaluation], expected: &str) {
        assert_eq!(told(&look(watcher, &run(status), evaluations, true)), expected);
    }

    #[test]
    fn a_live_run_is_told_as_it_goes() {
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
    fn an_evaluation_after_the_verdict_is_told_as_late() {
        let mut watcher = watcher(&["a", "b < a"], &[]);
        let b = evaluation("b", 0, "in_progress");
        check(&mut watcher, "in_progress", std::slice::from_ref(&b), ">b a=nothing_due");
        check(&mut watcher, "in_progress", &[b.clone(), evaluation("a", 1, "in_progress")], "");
        check(&mut watcher, "failed:crashed", &[b, evaluation("a", 1, "in_progress")], "a=failure! b=failure");
    }

    #[test]
    fn a_model_that_the_job_does_not_know_is_told_too() {
        let mut watcher = watcher(&["a"], &["a"]);
        check(&mut watcher, "success", &[evaluation("new", 0, "success")], ">new a=nothing_due new=success");
    }

    #[test]
    fn a_model_that_is_gone_waits_for_nothing() {
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
    fn one_node_alone_still_sees_what_is_downstream() {
        let mut watcher = watcher(&["a", "b < a"], &[]).only("a");
        assert_eq!(
            told(&look(&mut watcher, &run("in_progress"), &[evaluation("b", 0, "in_progress")], false)),
            "a=nothing_due"
        );
        assert_eq!(watcher.decided(), watcher.tasks());
    }

    #[track_caller]
    fn one_task(nodes: &[&str], status: &str, evaluations: &[Evaluation]) -> crate::report::events::Task {
        let events = look(&mut watcher(nodes, &[]), &run(status), evaluations, true);
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
        assert_eq!((materialization.evaluation_id.as_str(), materialization.batches), ("a-1", 2));
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
