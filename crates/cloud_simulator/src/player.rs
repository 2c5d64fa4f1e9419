//! Plays the scenario: each event is ingested at its time, as a recorder's events are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use local_cloud::{DatabaseError, LocalCloud};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::Clock;
use crate::file::{DEFAULT_ENVIRONMENT, Environment, Forget, Kind, Node, Run, Scenario};
use crate::project;
use crate::timeline::timeline;
use crate::unknown_names;

/// An environment without a time is older by this than whatever has one.
const DAY_S: f64 = 24.0 * 3600.0;

/// The SQLMesh state that the scenario's events come from: a recorder that names its project makes one beside the
/// scenario's, which has no name.
const STATE: &str = "scenario";

/// How often runs in progress send a heartbeat, at least.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(crate) struct Player {
    cloud: LocalCloud,
    clock: Arc<Clock>,
    seed: u64,
    /// Since when environments without a time have been there.
    long_ago_s: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is to be done, by microseconds of the scenario and, at the same time, in the order in which it was added.
    due: BTreeMap<(i64, u64), Act>,
    added: u64,
    runs: u64,
    nodes: HashMap<String, Vec<Node>>,
    /// All that were ever added.
    environments: Vec<Environment>,
    /// How many acts were taken from above and are not in the database yet.
    being_ingested: usize,
    in_progress: HashSet<(Kind, String)>,
    odd_statuses: HashMap<String, String>,
}

enum Act {
    Environment(Environment),
    /// A run, and how often it was started before.
    Start(Run, u32),
    /// An event of a run or plan, by its id.
    Report(String, Value),
    Forget(String),
}

impl Player {
    pub fn new(cloud: LocalCloud, clock: Arc<Clock>, scenario: &Scenario) -> Self {
        let long_ago_s = earliest_s(scenario) - DAY_S;
        let player = Self { cloud, clock, seed: scenario.seed, long_ago_s, state: Mutex::default() };
        for environment in &scenario.environments {
            player.add_environment(environment.clone(), 0.0);
        }
        for run in &scenario.runs {
            player.add_run(run.clone(), 0.0);
        }
        for forget in &scenario.forget {
            player.add_forget(forget.clone(), 0.0);
        }
        player
    }

    /// `from_s` is the time from which the description counts.
    pub fn add_environment(&self, environment: Environment, from_s: f64) {
        self.locked().environments.push(environment.clone());
        let at_s = environment.at_s.map_or(self.long_ago_s, |at_s| from_s + at_s);
        self.add(at_s, Act::Environment(environment));
    }

    /// Why the run cannot be added: it refers to an environment or a node that there is not.
    pub fn unknown_name(&self, run: &Run) -> Option<String> {
        unknown_names::of_run(run, &self.locked().environments)
    }

    /// The name of the run, of its first time when it is repeated.
    pub fn add_run(&self, run: Run, from_s: f64) -> String {
        let run = self.named(run);
        let id = run.id.clone().unwrap_or_default();
        self.add(from_s + run.start_s, Act::Start(run, 0));
        id
    }

    pub fn add_forget(&self, forget: Forget, from_s: f64) {
        self.add(from_s + forget.at_s, Act::Forget(forget.run_id));
    }

    /// Ends a run now. What it would still have done does not happen.
    pub fn end_run(&self, run_id: &str, status: &str, message: Option<&str>) {
        self.drop_rest_of(run_id);
        let event = json!({"type": "run_ended", "run_id": run_id, "environment": DEFAULT_ENVIRONMENT,
                           "status": status, "error_message": message});
        self.report(self.clock.now_s(), 0.0, run_id, event);
    }

    /// The status that an evaluation or a run shows, if the database does not have it.
    pub fn odd_status(&self, id: &str) -> Option<String> {
        self.locked().odd_statuses.get(id).cloned()
    }

    pub fn has_odd_statuses(&self) -> bool {
        !self.locked().odd_statuses.is_empty()
    }

    /// How much is still to come.
    pub fn pending(&self) -> usize {
        self.locked().due.len()
    }

    /// How much of it should have been reported by now.
    pub fn due_now(&self) -> usize {
        let now = ((self.clock.now_s() * 1e6) as i64, u64::MAX);
        let state = self.locked();
        state.due.range(..now).count() + state.being_ingested
    }

    /// Does what is due, again and again, until it is dropped.
    pub async fn play(&self) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            while let Some(acts) = self.take_due() {
                if let Err(error) = self.perform(acts).await {
                    tracing::error!("the scenario could not go on as written: failed to {error}");
                }
                self.locked().being_ingested = 0;
            }
            let next_s = self.locked().due.keys().next().map_or(f64::MAX, |(micros, _)| *micros as f64 / 1e6);
            tokio::select! {
                () = self.clock.wait_until(next_s) => {}
                _ = heartbeat.tick() => self.send_heartbeats().await,
            }
        }
    }

    fn named(&self, mut run: Run) -> Run {
        let mut state = self.locked();
        state.runs += 1;
        let number = state.runs;
        run.id.get_or_insert_with(|| format!("run-{number}"));
        run
    }

    fn add(&self, at_s: f64, act: Act) {
        let mut state = self.locked();
        state.added += 1;
        let place = ((at_s * 1e6) as i64, state.added);
        state.due.insert(place, act);
        drop(state);
        self.clock.set(None, 0.0);
    }

    /// The cloud gets to know the event `late_s` after it happened.
    fn report(&self, at_s: f64, late_s: f64, run_id: &str, mut event: Value) {
        identify(&mut event);
        event["at"] = self.clock.timestamp(at_s).to_string().into();
        self.add(at_s + late_s, Act::Report(run_id.to_owned(), event));
    }

    /// What is due now, in order; `None`: nothing.
    fn take_due(&self) -> Option<Vec<(f64, Act)>> {
        let now = ((self.clock.now_s() * 1e6) as i64, u64::MAX);
        let mut state = self.locked();
        let later = state.due.split_off(&now);
        let due = std::mem::replace(&mut state.due, later);
        state.being_ingested = due.len();
        let due: Vec<(f64, Act)> = due.into_iter().map(|((micros, _), act)| (micros as f64 / 1e6, act)).collect();
        (!due.is_empty()).then_some(due)
    }

    async fn perform(&self, acts: Vec<(f64, Act)>) -> Result<(), DatabaseError> {
        let mut lines = String::new();
        let mut forgotten = Vec::new();
        for (at_s, act) in acts {
            match act {
                Act::Environment(environment) => {
                    let nodes = project::nodes(&environment);
                    let mut event = project::event(&environment.name, &nodes, self.clock.timestamp(at_s));
                    identify(&mut event);
                    lines += &format!("{event}\n");
                    self.locked().nodes.insert(environment.name, nodes);
                }
                Act::Start(run, before) => self.start(run, before, at_s),
                Act::Report(run_id, event) => {
                    for kind in [Kind::Run, Kind::Plan] {
                        if event["type"] == kind.event("ended") {
                            self.locked().in_progress.remove(&(kind, run_id.clone()));
                        }
                    }
                    lines += &format!("{event}\n");
                }
                Act::Forget(run_id) => {
                    self.drop_rest_of(&run_id);
                    forgotten.push(run_id);
                }
            }
        }
        for reason in self.cloud.ingest(lines, forgotten).await? {
            tracing::warn!("an event of the scenario was refused: {reason}");
        }
        Ok(())
    }

    fn start(&self, run: Run, before: u32, at_s: f64) {
        let first_id = run.id.clone().unwrap_or_default();
        let run_id = if before == 0 { first_id } else { format!("{first_id}-{}", before + 1) };
        let nodes = self.locked().nodes.get(&run.environment).cloned().unwrap_or_default();
        let timeline = timeline(self.seed, &run, &run_id, &nodes);
        {
            let mut state = self.locked();
            state.in_progress.insert((run.kind, run_id.clone()));
            state.odd_statuses.extend(timeline.odd_statuses);
        }
        for (after_s, event) in timeline.events {
            self.report(at_s + after_s, run.late_s, &run_id, event);
        }
        let goes_on = run.times.is_none_or(|times| before + 1 < times);
        if let (Some(repeat_s), true) = (run.repeat_s, goes_on) {
            self.add(at_s + repeat_s.max(0.01), Act::Start(run, before + 1));
        }
    }

    fn drop_rest_of(&self, run_id: &str) {
        self.locked().due.retain(|_, act| !matches!(act, Act::Report(of, _) if of == run_id));
    }

    async fn send_heartbeats(&self) {
        let (runs, plans): (Vec<_>, Vec<_>) =
            self.locked().in_progress.iter().cloned().partition(|(kind, _)| *kind == Kind::Run);
        let ids = |of: Vec<(Kind, String)>| of.into_iter().map(|(_, id)| id).collect();
        if let Err(error) = self.cloud.heartbeat(ids(runs), ids(plans)).await {
            tracing::error!("the runs of the scenario may count as dead: failed to {error}");
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identify(event: &mut Value) {
    event["id"] = Uuid::new_v4().to_string().into();
    event["state"] = STATE.into();
}

/// When the first thing of the scenario that has a time happens; its start at the latest.
fn earliest_s(scenario: &Scenario) -> f64 {
    let runs = scenario.runs.iter().map(|run| run.start_s);
    let environments = scenario.environments.iter().filter_map(|environment| environment.at_s);
    runs.chain(environments).fold(0.0, f64::min)
}
