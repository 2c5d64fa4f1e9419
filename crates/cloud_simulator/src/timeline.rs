//! From the description of a run to the events that its recorder would send, each at its second. Pure.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::file::{Audited, End, EndAs, Node, Outcome, Run, Span};
use crate::names::unquoted;
use crate::outcomes::Outcomes;
use crate::rng::draw;
use local_cloud::{SourceType, Status};

/// From the last end of a task to that of the run.
const PAUSE_S: f64 = 0.05;

/// All events of a run.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Seconds from the start of the run, and the event, which lacks its id and time.
    pub events: Vec<(f64, Value)>,
    /// Statuses that the database does not have, by the id of the evaluation or run.
    pub odd_statuses: Vec<(String, String)>,
}

/// What `run` does under the name `run_id`. `nodes` is the DAG.
pub(crate) fn timeline(seed: u64, run: &Run, run_id: &str, nodes: &[Node]) -> Timeline {
    let mut builder =
        Builder { seed, run, run_id, timeline: Timeline::default(), bad: 0, evaluated: 0, is_open: false };
    builder.push(
        0.0,
        json!({"type": run.kind.event("started"), run.kind.id_field(): run_id, "environment": run.environment}),
    );
    if run.due {
        let outcomes = Outcomes::new(seed, run, run_id);
        let due = nodes.iter().filter(|node| outcomes.of(node).status != "none").map(|node| &node.name);
        let node_names: Vec<&String> = due.collect();
        let event = json!({"type": "due", run.kind.id_field(): run_id, "environment": run.environment,
                           "node_names": node_names});
        builder.push(0.0, event);
    }
    let last_s = builder.tasks(nodes);
    builder.end(last_s);
    builder.timeline.events.sort_by(|one, other| one.0.total_cmp(&other.0));
    builder.timeline
}

struct Builder<'a> {
    seed: u64,
    run: &'a Run,
    run_id: &'a str,
    timeline: Timeline,
    /// Nodes that ended badly.
    bad: usize,
    evaluated: usize,
    /// Something never ends.
    is_open: bool,
}

/// How a batch, or a whole node, ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ends {
    #[default]
    Well,
    Badly,
    Never,
}

impl Builder<'_> {
    fn push(&mut self, at_s: f64, event: Value) {
        self.timeline.events.push((at_s, event));
    }

    /// Evaluates all nodes, each when its parents are done and a lane is free. Returns when the last one ends.
    fn tasks(&mut self, nodes: &[Node]) -> f64 {
        let position: HashMap<&str, usize> = nodes.iter().zip(0..).map(|(node, at)| (node.name.as_str(), at)).collect();
        let outcomes = Outcomes::new(self.seed, self.run, self.run_id);
        let mut done: Vec<Option<Done>> = vec![None; nodes.len()];
        let mut lanes = vec![0.0_f64; self.run.lanes.max(1)];
        let mut last_s = 0.0_f64;
        for _ in nodes {
            let ready = |at: usize| -> Option<Done> {
                let parents = nodes[at].parents.iter().filter_map(|parent| position.get(parent.as_str()));
                parents.filter(|parent| **parent != at).try_fold(Done::default(), |all, parent| {
                    done[*parent].map(|one| Done { at_s: all.at_s.max(one.at_s), ends: all.ends.max(one.ends) })
                })
            };
            let open = (0..nodes.len()).filter(|at| done[*at].is_none());
            // In a cycle nobody is ready: then the first goes on.
            let next =
                open.clone().filter_map(|at| Some((at, ready(at)?))).min_by(|a, b| a.1.at_s.total_cmp(&b.1.at_s));
            let Some((at, upstream)) = next.or_else(|| open.clone().next().map(|at| (at, Done::default()))) else {
                break;
            };
            let node = &nodes[at];
            let outcome = outcomes.of(node);
            let is_kept_away = upstream.ends != Ends::Well && !outcome.despite_upstream && outcome.start_s.is_none();
            if outcome.status == "none" || is_kept_away {
                done[at] = Some(upstream);
                continue;
            }
            let lane = lanes.iter_mut().min_by(|one, other| one.total_cmp(other));
            let free_s = lane.as_ref().map_or(0.0, |free_s| **free_s);
            let start_s = outcome.start_s.unwrap_or(upstream.at_s.max(free_s));
            let (end_s, ends) = self.task(at, node, &outcome, start_s);
            if let (Some(lane), None) = (lane, outcome.start_s) {
                *lane = end_s;
            }
            last_s = last_s.max(end_s);
            done[at] = Some(Done { at_s: end_s, ends });
        }
        last_s
    }

    /// One node, batch after batch. Returns when it ends, and how.
    fn task(&mut self, at: usize, node: &Node, outcome: &Outcome, start_s: f64) -> (f64, Ends) {
        self.evaluated += 1;
        let whole = std::slice::from_ref(outcome);
        let batches = if outcome.batches.is_empty() { whole } else { &outcome.batches };
        let (mut now_s, mut last_s, mut ends) = (start_s, start_s, Ends::Well);
        for (batch, number) in batches.iter().zip(1..) {
            if let (Some(given_s), false) = (batch.start_s, outcome.batches.is_empty()) {
                now_s = given_s;
            }
            let id = format!("{}-n{}-b{number}", self.run_id, at + 1);
            let span = batch.task_s.or(outcome.task_s).unwrap_or(self.run.task_s);
            ends = ends.max(self.batch(&id, node, batch, now_s, span));
            now_s += self.seconds(span, &id);
            last_s = last_s.max(now_s);
        }
        self.bad += usize::from(ends == Ends::Badly);
        self.is_open |= ends == Ends::Never;
        (last_s, ends)
    }

    fn batch(&mut self, id: &str, node: &Node, outcome: &Outcome, start_s: f64, span: Span) -> Ends {
        let of = |kind: &str| {
            json!({"type": kind, "evaluation_id": id, self.run.kind.id_field(): self.run_id, "environment": self.run.environment,
                   "node_name": node.name, "version": "1"})
        };
        let (scheduled, started) = (of("evaluation_scheduled"), of("evaluation_started"));
        if self.run.announced {
            self.push(0.0, scheduled);
        }
        self.push(start_s, started);
        let end_s = start_s + self.seconds(span, id);
        let is_blocked = self.audits(id, node, outcome, end_s);
        let known = status(&outcome.status);
        let is_open = outcome.open || outcome.status == "open" || known.is_some_and(|status| !status.is_final());
        if known.is_none() && outcome.status != "open" {
            self.timeline.odd_statuses.push((id.to_owned(), outcome.status.clone()));
        }
        if is_open {
            return Ends::Never;
        }
        let status = if is_blocked {
            Status::Failed
        } else {
            // Its odd status says what it is called then.
            known.unwrap_or(Status::Success)
        };
        let message = match &outcome.message {
            Some(given) => given.clone(),
            None if is_blocked => Some(format!("a blocking audit of {} failed", node.name)),
            None if status == Status::Failed => Some(format!("{} could not be evaluated", node.name)),
            None => None,
        };
        let is_bad = message.is_some() || matches!(status, Status::Failed | Status::Preempted | Status::Aborted);
        let event = json!({"type": "evaluation_ended", "evaluation_id": id, "status": status, "error_message": message,
                           "log": outcome.log});
        self.push(end_s, event);
        if is_bad { Ends::Badly } else { Ends::Well }
    }

    /// Reports the audits that ran; whether one of them blocks.
    fn audits(&mut self, id: &str, node: &Node, outcome: &Outcome, at_s: f64) -> bool {
        let is_standalone = node.source_type == SourceType::Audit;
        let own = [unquoted(&node.name)];
        let names: &[String] = if is_standalone { &own } else { &node.audits };
        let ran = matches!(outcome.status.as_str(), "success" | "failed") || !outcome.audits.is_empty();
        if !ran || (is_standalone && !outcome.record) {
            return false;
        }
        let mut blocked = false;
        for name in names {
            let named = outcome.audits.get(name).or_else(|| outcome.audits.get("*"));
            let result = named.copied().unwrap_or(Audited::Success);
            if result == Audited::None {
                continue;
            }
            blocked |= result == Audited::Blocks;
            let passed = result == Audited::Success;
            let event = json!({"type": "audit", "evaluation_id": id, "name": name, "args": null,
                               "status": if passed { "success" } else { "failed" },
                               "blocking": result == Audited::Blocks, "count": i32::from(!passed), "log": null});
            self.push(at_s, event);
        }
        blocked
    }

    fn end(&mut self, last_s: f64) {
        let given = match &self.run.ends {
            End::Never => return,
            // It waits for what never ends.
            End::ByItself if self.is_open => return,
            End::ByItself => EndAs { at_s: None, status: None, message: None },
            End::As(given) => given.clone(),
        };
        if let Some(at_s) = given.at_s {
            // What goes on then stays open; what would begin later does not.
            self.timeline.events.retain(|(event_s, _)| *event_s <= at_s);
        }
        let derived = if given.at_s.is_some() || self.bad > 0 { "failed" } else { "success" };
        let word = given.status.clone().unwrap_or_else(|| derived.to_owned());
        if status(&word).is_none() {
            self.timeline.odd_statuses.push((self.run_id.to_owned(), word.clone()));
        }
        let message = match given.message {
            Some(message) => message,
            None if given.at_s.is_some() && word == "failed" => Some("the scheduler crashed".to_owned()),
            None if word == "failed" => Some(format!("{} of {} nodes failed", self.bad, self.evaluated)),
            None => None,
        };
        let event = json!({"type": self.run.kind.event("ended"), self.run.kind.id_field(): self.run_id, "environment": self.run.environment,
                           "status": status(&word).unwrap_or(Status::Success), "error_message": message});
        self.push(given.at_s.unwrap_or(last_s + PAUSE_S), event);
    }

    fn seconds(&self, span: Span, id: &str) -> f64 {
        span.seconds(draw(self.seed, &["time", id]))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Done {
    at_s: f64,
    ends: Ends,
}

/// One of the statuses that the API has.
fn status(word: &str) -> Option<Status> {
    serde_json::from_value(Value::from(word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::from_value;

    /// `a`, `b` below it, `c` below that; `a` has an audit.
    fn timeline_of(run: &str) -> Timeline {
        let nodes = "[{name: a, audits: [x]}, {name: b, parents: [a, elsewhere]}, {name: c, parents: [b]}]";
        let nodes: Vec<Node> = from_value(serde_norway::from_str(nodes).expect("YAML")).expect("nodes");
        let run: Run = from_value(serde_norway::from_str(run).expect("YAML")).expect("a run");
        timeline(1, &run, "r", &nodes)
    }

    /// One term for each event: its second, its kind, its node or audit, its status.
    fn summary(timeline: &Timeline) -> String {
        let term = |(at_s, event): &(f64, Value)| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let kind = text("type").replace("evaluation_", "");
            let of = [text("node_name"), text("name"), text("evaluation_id")].into_iter().find(|text| !text.is_empty());
            let status = event["status"].as_str().map(|status| format!("={status}")).unwrap_or_default();
            format!("{at_s}:{kind}:{}{status}", of.unwrap_or_default())
        };
        timeline.events.iter().map(term).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(run: &str, expected: &str) {
        assert_eq!(summary(&timeline_of(run)), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{run}");
    }

    #[test]
    fn tasks_wait_for_their_parents() {
        check(
            "{}",
            "0:run_started: 0:started:a 1:audit:x=success 1:ended:r-n1-b1=success 1:started:b 2:ended:r-n2-b1=success
             2:started:c 3:ended:r-n3-b1=success 3.05:run_ended:=success",
        );
    }

    #[test]
    fn what_is_below_a_failure_is_not_evaluated_unless_requested() {
        check(
            "nodes: {a: failed}",
            "0:run_started: 0:started:a 1:audit:x=success 1:ended:r-n1-b1=failed 1.05:run_ended:=failed",
        );
        check(
            "nodes: {a: preempted, c: {despite_upstream: true}}",
            "0:run_started: 0:started:a 1:ended:r-n1-b1=preempted 1:started:c 2:ended:r-n3-b1=success 2.05:run_ended:=failed",
        );
        check(
            "nodes: {a: {audits: {x: blocks}}}",
            "0:run_started: 0:started:a 1:audit:x=failed 1:ended:r-n1-b1=failed 1.05:run_ended:=failed",
        );
    }

    #[test]
    fn a_crash_leaves_open_what_goes_on() {
        check(
            "ends: {at_s: 1.5}",
            "0:run_started: 0:started:a 1:audit:x=success 1:ended:r-n1-b1=success 1:started:b 1.5:run_ended:=failed",
        );
        check("nodes: {a: open}", "0:run_started: 0:started:a");
        check("{ends: never, nodes: {'*': none}}", "0:run_started:");
    }

    #[test]
    fn batches_follow_one_another_or_have_their_times() {
        check(
            "nodes: {a: {batches: [{start_s: 3}, {start_s: 1}], audits: {x: none}}, '*': none}",
            "0:run_started: 1:started:a 2:audit:x=success 2:ended:r-n1-b2=success 3:started:a 4:audit:x=success
             4:ended:r-n1-b1=success 4.05:run_ended:=success",
        );
        check(
            "nodes: {a: {batches: [success, {status: failed, start_s: 5}], audits: {x: none}}, '*': none}",
            "0:run_started: 0:started:a 1:audit:x=success 1:ended:r-n1-b1=success 5:started:a 6:audit:x=success
             6:ended:r-n1-b2=failed 6.05:run_ended:=failed",
        );
    }

    #[test]
    fn a_status_that_nobody_knows_is_kept_beside() {
        let timeline = timeline_of("{nodes: {a: parked, '*': none}, ends: {status: odd}}");
        let odd: Vec<(&str, &str)> = timeline.odd_statuses.iter().map(|(id, word)| (&**id, &**word)).collect();
        assert_eq!(odd, [("r-n1-b1", "parked"), ("r", "odd")]);
        check("{nodes: {a: {status: parked, open: true}, '*': none}}", "0:run_started: 0:started:a");
    }
}
