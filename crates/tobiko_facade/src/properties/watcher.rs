//! Random runs on a timeline, polled at random times: the watcher reports what a plain model of the truth table says.
//! The model stands in `docs/truth.md`'s words and shares no code with the watcher or the verdict.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tobiko_client::{Evaluation, Run, Status};

use crate::manifest::Manifest;
use crate::report::events::{Event, Task};
use crate::run_state::watcher::Watcher;
use crate::testing::{at, audit, dag, poll};

/// What the scheduler will have done for a node, in one batch. Times are seconds of the run.
#[derive(Debug, Clone)]
struct Batch {
    planned_at: i64,
    starts_after: i64,
    lasts: i64,
    status: &'static str,
    message: Option<&'static str>,
    /// Some clouds leave the end out where the status says it.
    has_end: bool,
}

#[derive(Debug, Clone)]
struct Story {
    /// For each node: `~` standalone audit, `%` seed, `^` external, or a model; its parents, all of them before it; its batches.
    nodes: Vec<(&'static str, BTreeSet<usize>, Vec<Batch>)>,
    /// NodeSummaryBuilder of a node that the DAG does not have, and whether Dagster's job has it.
    unknown: (Vec<Batch>, bool),
    /// From then on the cloud says which nodes are due: those that have batches, and this one.
    announced: Option<(i64, usize)>,
    ends_at: i64,
    status: &'static str,
    message: Option<&'static str>,
    polls: BTreeSet<i64>,
    /// The answer's order is not fixed, and a page may repeat what the one before had.
    reversed: bool,
    repeated: bool,
}

/// How the run stands when it is polled.
#[derive(Clone, Copy, PartialEq)]
enum RunIs {
    GoingOn,
    EndedWell,
    EndedBadly,
}

fn batch() -> impl Strategy<Value = Batch> {
    let statuses = vec!["success", "success", "success", "skipped", "failed", "preempted", "aborted", "odd"];
    let messages = vec![None, None, None, None, Some("no such table")];
    (0..60_i64, 0..20_i64, 0..30_i64, prop::sample::select(statuses), prop::sample::select(messages), any::<bool>())
        .prop_map(|(planned_at, starts_after, lasts, status, message, has_end)| Batch {
            planned_at,
            starts_after,
            lasts,
            status,
            message,
            has_end: has_end || status == "odd",
        })
}

fn story() -> impl Strategy<Value = Story> {
    let batches = || prop::collection::vec(batch(), 0..4);
    let node = (
        prop::sample::select(vec!["", "", "", "", "~", "%", "^"]),
        prop::collection::btree_set(0..6_usize, 0..4),
        batches(),
    );
    let nodes = prop::collection::vec(node, 1..7).prop_map(|nodes| {
        let before = |at: usize, parents: BTreeSet<usize>| parents.into_iter().filter(|parent| *parent < at).collect();
        nodes
            .into_iter()
            .enumerate()
            .map(|(at, (sign, parents, batches))| (sign, before(at, parents), batches))
            .collect()
    });
    let run = (
        0..100_i64,
        prop::sample::select(vec!["success", "success", "skipped", "failed", "aborted", "odd"]),
        prop::sample::select(vec![None, None, Some("the worker was lost")]),
    );
    let polls = prop::collection::btree_set(0..130_i64, 0..8);
    let announced = prop::option::of((0..40_i64, 0..6_usize));
    (nodes, (batches(), any::<bool>()), run, polls, any::<bool>(), any::<bool>(), announced).prop_map(
        |(nodes, unknown, (ends_at, status, message), mut polls, reversed, repeated, announced)| {
            polls.insert(130);
            Story { nodes, unknown, announced, ends_at, status, message, polls, reversed, repeated }
        },
    )
}

impl Batch {
    /// What was not done by the end of the run is never done.
    fn starts_at(&self, story: &Story) -> Option<i64> {
        Some(self.planned_at + self.starts_after).filter(|at| *at <= story.ends_at)
    }

    fn ends_at(&self, story: &Story) -> Option<i64> {
        Some(self.starts_at(story)? + self.lasts).filter(|at| *at <= story.ends_at)
    }

    fn exists(&self, story: &Story, now: i64) -> bool {
        self.planned_at <= now.min(story.ends_at)
    }

    fn has_started(&self, story: &Story, now: i64) -> bool {
        self.starts_at(story).is_some_and(|at| at <= now)
    }

    fn has_ended(&self, story: &Story, now: i64) -> bool {
        self.ends_at(story).is_some_and(|at| at <= now)
    }

    fn evaluation(&self, story: &Story, node: &str, id: String, now: i64) -> Evaluation {
        let ended = self.has_ended(story, now);
        let status = match (ended, self.has_started(story, now)) {
            (true, _) => self.status,
            (false, true) => "in_progress",
            (false, false) => "scheduled",
        };
        Evaluation {
            evaluation_id: id,
            node_name: node.to_owned(),
            run_id: Some("r".to_owned()),
            start_at: self.starts_at(story).filter(|start| *start <= now).map(at),
            end_at: self.ends_at(story).filter(|end| *end <= now && self.has_end).map(at),
            error_message: self.message.filter(|_| ended).map(str::to_owned),
            status: Status::from(status.to_owned()),
            audits: if ended { vec![audit("not_null", true)] } else { Vec::new() },
            ..Evaluation::default()
        }
    }
}

impl Story {
    fn name(&self, at: usize) -> String {
        // Not in the order of the DAG.
        if at < self.nodes.len() { format!("n{}", (at * 5) % 7) } else { "unknown".to_owned() }
    }

    fn batches(&self, at: usize) -> &[Batch] {
        self.nodes.get(at).map_or(&self.unknown.0, |(.., batches)| batches)
    }

    fn manifest(&self) -> Manifest {
        let node = |(at, (sign, parents, _)): (usize, &(&str, BTreeSet<usize>, Vec<Batch>))| {
            let parents: Vec<String> = parents.iter().map(|parent| self.name(*parent)).collect();
            format!("{sign}{} < {}", self.name(at), parents.join(" "))
        };
        let nodes: Vec<String> = self.nodes.iter().enumerate().map(node).collect();
        Manifest::new("prod", Some(&dag(&nodes.iter().map(String::as_str).collect::<Vec<_>>())), None)
    }

    fn watcher(&self) -> Watcher {
        let mut job: Vec<String> = (0..self.nodes.len()).map(|at| self.name(at)).collect();
        job.extend(self.unknown.1.then(|| "unknown".to_owned()));
        Watcher::new(&self.manifest(), None, &job)
    }

    fn run(&self, now: i64) -> Run {
        let over = self.ends_at <= now;
        Run {
            run_id: "r".to_owned(),
            environment: "prod".to_owned(),
            start_at: Some(at(0)),
            end_at: over.then(|| at(self.ends_at)),
            status: Status::from(if over { self.status } else { "in_progress" }.to_owned()),
            error_message: self.message.filter(|_| over).map(str::to_owned),
            due_node_names: self.due(now).map(|due| due.into_iter().map(|at| self.name(at)).collect()),
            ..Run::default()
        }
    }

    /// The nodes that the cloud says are due, if it has said so.
    fn due(&self, now: i64) -> Option<BTreeSet<usize>> {
        let (_, one_more) = self.announced.filter(|(at, _)| *at <= now)?;
        let with_batches = (0..self.nodes.len()).filter(|at| !self.nodes[*at].2.is_empty());
        Some(with_batches.chain([one_more]).collect())
    }

    fn run_is(&self, now: i64) -> RunIs {
        match (self.ends_at <= now, self.status, self.message) {
            (false, ..) => RunIs::GoingOn,
            (true, "success" | "skipped", None) => RunIs::EndedWell,
            _ => RunIs::EndedBadly,
        }
    }

    fn evaluations(&self, now: i64) -> Vec<Evaluation> {
        let mut all = Vec::new();
        for at in 0..=self.nodes.len() {
            for (n, batch) in self.batches(at).iter().enumerate().filter(|(_, batch)| batch.exists(self, now)) {
                all.push(batch.evaluation(self, &self.name(at), self.id(at, n), now));
            }
        }
        if self.repeated {
            all.extend(all.first().cloned());
        }
        if self.reversed {
            all.reverse();
        }
        all
    }

    fn id(&self, at: usize, batch: usize) -> String {
        format!("{}-{batch}", self.name(at))
    }

    fn is_below(&self, at: usize, other: usize) -> bool {
        let parents = &self.nodes[at].1;
        parents.contains(&other) || parents.iter().any(|parent| self.is_below(*parent, other))
    }

    /// The row of the table for a node of which `new` are the batches that were not reported before; `None`: it waits.
    fn outcome(&self, at: usize, new: &[&Batch], now: i64) -> Option<&'static str> {
        let run = self.run_is(now);
        if new.is_empty() {
            let started = |other: usize| self.batches(other).iter().any(|batch| batch.has_started(self, now));
            let is_gone = at == self.nodes.len();
            if let (false, Some(due)) = (is_gone, self.due(now)) {
                return match run {
                    _ if !due.contains(&at) => Some("nothing_due"),
                    RunIs::GoingOn => None,
                    RunIs::EndedWell => Some("nothing_due"),
                    RunIs::EndedBadly => Some("skipped"),
                };
            }
            let is_idle = is_gone
                || matches!(self.nodes[at].0, "%" | "^")
                || (0..self.nodes.len()).any(|other| self.is_below(other, at) && started(other));
            return match run {
                _ if is_idle => Some("nothing_due"),
                RunIs::GoingOn => None,
                RunIs::EndedWell => Some("nothing_due"),
                RunIs::EndedBadly => Some("skipped"),
            };
        }
        let open = new.iter().any(|batch| !batch.has_ended(self, now));
        let ended: Vec<&&Batch> = new.iter().filter(|batch| batch.has_ended(self, now)).collect();
        let any = |statuses: &[&str]| ended.iter().any(|batch| statuses.contains(&batch.status));
        let unknown = any(&["odd"]);
        if run == RunIs::GoingOn && (open || ended.iter().any(|batch| batch.status == "odd" && batch.message.is_none()))
        {
            return None;
        }
        if any(&["failed", "preempted", "aborted"]) || ended.iter().any(|batch| batch.message.is_some()) {
            return Some("failure");
        }
        if open || unknown {
            return Some(if run == RunIs::EndedWell { "success" } else { "failure" });
        }
        Some(if any(&["success"]) { "success" } else { "nothing_due" })
    }

    /// Standalone audits and external models are never materialized, and only what is known to have ended well does.
    fn materializes(&self, at: usize, new: &[&Batch], outcome: &str, now: i64) -> bool {
        let is_audit = self.nodes.get(at).is_some_and(|(sign, ..)| matches!(*sign, "~" | "^"));
        let well = |batch: &&Batch| batch.has_ended(self, now) && matches!(batch.status, "success" | "skipped");
        !is_audit && outcome == "success" && new.iter().all(well)
    }
}

/// What one poll has to report: by node, (outcome, late, evaluations, materialized).
type Report = BTreeMap<String, (String, bool, BTreeSet<String>, bool)>;

/// The polls of a story, as the model reports them.
#[derive(Default)]
struct Model {
    decided: BTreeSet<usize>,
    reported: BTreeSet<String>,
}

impl Model {
    fn poll(&mut self, story: &Story, now: i64) -> Report {
        let mut report = Report::new();
        for at in 0..=story.nodes.len() {
            let new: Vec<(String, &Batch)> = story
                .batches(at)
                .iter()
                .enumerate()
                .map(|(n, batch)| (story.id(at, n), batch))
                .filter(|(id, batch)| batch.exists(story, now) && !self.reported.contains(id))
                .collect();
            let late = self.decided.contains(&at);
            let is_known = at < story.nodes.len() || story.unknown.1 || !new.is_empty();
            if !is_known || (late && new.is_empty()) {
                continue;
            }
            let batches: Vec<&Batch> = new.iter().map(|(_, batch)| *batch).collect();
            if let Some(outcome) = story.outcome(at, &batches, now) {
                self.decided.insert(at);
                let ids: BTreeSet<String> = new.into_iter().map(|(id, _)| id).collect();
                self.reported.extend(ids.iter().cloned());
                let materialized = story.materializes(at, &batches, outcome, now);
                report.insert(story.name(at), (outcome.to_owned(), late, ids, materialized));
            }
        }
        report
    }
}

fn tasks(events: &[Event]) -> Vec<&Task> {
    let mut tasks = Vec::new();
    for event in events {
        if let Event::Task(task) = event {
            tasks.push(task.as_ref());
        }
    }
    tasks
}

fn report(events: &[Event]) -> Report {
    let mut report = Report::new();
    for task in tasks(events) {
        let ids: BTreeSet<String> = task.evaluation_ids.iter().cloned().collect();
        assert_eq!(ids.len(), task.evaluation_ids.len(), "{}: an evaluation comes twice", task.node);
        let task_report = (task.outcome.as_str().to_owned(), task.late, ids, task.materialization.is_some());
        assert!(report.insert(task.node.clone(), task_report).is_none(), "{} comes twice", task.node);
    }
    report
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_poll_reports_what_the_truth_table_says(story in story()) {
        let (mut watcher, mut model) = (story.watcher(), Model::default());
        let mut started = BTreeSet::new();
        let mut verdicts = BTreeMap::new();
        for now in &story.polls {
            let events = poll(&mut watcher, &story.run(*now), &story.evaluations(*now), true);
            prop_assert_eq!(report(&events), model.poll(&story, *now), "at {}", now);
            for event in &events {
                match event {
                    Event::TaskStarted { node, .. } => {
                        prop_assert!(!verdicts.contains_key(node), "{node} starts after its verdict");
                        prop_assert!(started.insert(node.clone()), "{node} starts twice");
                    }
                    Event::Task(task) if !task.late => {
                        prop_assert!(verdicts.insert(task.node.clone(), *now).is_none(), "{}: two verdicts", task.node);
                        let begun = story.evaluations(*now).iter().any(|e| e.node_name == task.node && e.start_at.is_some());
                        prop_assert!(!begun || started.contains(&task.node), "{} never started", task.node);
                    }
                    Event::Task(task) => prop_assert!(verdicts.contains_key(&task.node)),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let ends: Vec<_> = tasks(&events).iter().map(|task| task.end_at).collect();
            prop_assert!(ends.is_sorted(), "not in the order in which they ended");
        }
        // The last poll saw the run's end: nothing is left to report.
        let last = story.evaluations(130);
        prop_assert_eq!(model.reported, last.iter().map(|e| e.evaluation_id.clone()).collect::<BTreeSet<_>>());
        prop_assert!((0..story.nodes.len()).all(|at| verdicts.contains_key(&story.name(at))));
        prop_assert_eq!(poll(&mut watcher, &story.run(999), &last, true), []);
    }

    #[test]
    fn one_node_alone_is_reported_as_it_is_among_all(story in story(), which in any::<prop::sample::Index>()) {
        let node = story.name(which.index(story.nodes.len()));
        let (mut all, mut alone) = (story.watcher(), story.watcher().only(&node));
        for now in &story.polls {
            let (run, evaluations) = (story.run(*now), story.evaluations(*now));
            let mut of_all = report(&poll(&mut all, &run, &evaluations, true));
            of_all.retain(|name, _| *name == node);
            prop_assert_eq!(report(&poll(&mut alone, &run, &evaluations, false)), of_all);
        }
        prop_assert_eq!(alone.decided(), alone.tasks());
    }
}
