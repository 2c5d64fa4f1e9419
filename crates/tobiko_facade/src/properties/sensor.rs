//! Whatever happens between two ticks: no run is mirrored twice at a time or out of order, and the sensor never gets stuck.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::sensor::cursor::{ATTEMPTS, Cursor};
use crate::sensor::decide::{News, Review, review};
use crate::sensor::messages::{Answer, DagsterRun, Job, LoadedManifest, Reply, TickInput};
use crate::sensor::new_runs::NewRun;
use crate::sensor::new_runs::NewRuns;

/// What happens between two ticks.
#[derive(Debug, Clone)]
enum Happening {
    /// A remote run starts, with the models of this version; those before it have ended.
    Run(u8),
    /// The last remote run ends.
    RunEnds,
    /// The mirror whose turn it is, and the sync, end with this status.
    Ends(&'static str),
    /// The run of a mirror that waits for its turn is deleted, or cancelled by a person.
    Removed(usize),
    Cancelled(usize),
    /// The code location is loaded anew.
    Loaded,
    Nothing,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3u8).prop_map(Happening::Run),
        2 => Just(Happening::RunEnds),
        6 => prop::sample::select(vec!["SUCCESS", "FAILURE", "CANCELED"]).prop_map(Happening::Ends),
        1 => (0..5usize).prop_map(Happening::Removed),
        1 => (0..5usize).prop_map(Happening::Cancelled),
        1 => Just(Happening::Loaded),
        1 => Just(Happening::Nothing),
    ]
}

/// A mirror that was requested.
struct Mirror {
    key: String,
    run_id: String,
    /// The keys of the mirrors that it waits for.
    after: Vec<String>,
    after_any_end: bool,
    /// `None`: it was deleted.
    state: Option<DagsterRun>,
}

impl Mirror {
    fn is_running(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_running)
    }
}

/// Dagster and the cloud, as far as the sensor sees them.
#[derive(Default)]
struct World {
    cursor: Option<String>,
    runs: Vec<String>,
    /// Whether the last of them goes on.
    goes_on: bool,
    models: u8,
    loaded: u8,
    can_reload: bool,
    reloads_work: bool,
    sync: Option<DagsterRun>,
    /// All mirrors that were requested.
    mirrors: Vec<Mirror>,
    /// The remote runs whose mirrors had their turn: they may have written something.
    written: Vec<usize>,
}

fn fingerprint(models: u8) -> Option<String> {
    Some(format!("f{models}"))
}

fn in_progress() -> Option<DagsterRun> {
    Some(DagsterRun { status: "STARTED".to_owned(), is_running: true, is_complete: false })
}

fn ended(status: &str) -> Option<DagsterRun> {
    Some(DagsterRun { status: status.to_owned(), is_running: false, is_complete: false })
}

impl World {
    fn happens(&mut self, happening: &Happening) {
        match happening {
            Happening::Run(models) => {
                self.models = *models;
                self.runs.push(format!("r{}", self.runs.len()));
                self.goes_on = true;
            }
            Happening::RunEnds => self.goes_on = false,
            Happening::Ends(status) => {
                if self.sync.is_some() {
                    self.sync = ended(status);
                }
                if let Some(mirror) = self.mirrors.iter_mut().find(|mirror| mirror.is_running()) {
                    mirror.state = ended(status);
                }
            }
            Happening::Removed(nth) => self.waiting(*nth, None),
            Happening::Cancelled(nth) => self.waiting(*nth, ended("CANCELED")),
            Happening::Loaded => self.loaded = self.models,
            Happening::Nothing => {}
        }
        self.workers();
    }

    fn waiting(&mut self, nth: usize, state: Option<DagsterRun>) {
        if let Some(mirror) = self.mirrors.iter_mut().filter(|mirror| mirror.is_running()).nth(nth + 1) {
            mirror.state = state;
        }
    }

    /// What the run workers of mirrors do: wait for those before, and die with them.
    fn workers(&mut self) {
        for at in 0..self.mirrors.len() {
            if !self.mirrors[at].is_running() {
                continue;
            }
            let after = &self.mirrors[at].after;
            let before: Vec<&Mirror> = self.mirrors.iter().filter(|mirror| after.contains(&mirror.key)).collect();
            if before.iter().any(|mirror| mirror.is_running()) {
                continue;
            }
            let mut states = before.iter().filter_map(|mirror| mirror.state.as_ref());
            if states.any(|state| state.status == "FAILURE") && !self.mirrors[at].after_any_end {
                self.mirrors[at].state = ended("FAILURE");
            } else {
                let run_id = &self.mirrors[at].run_id;
                self.written.extend(self.runs.iter().position(|run| run == run_id));
            }
        }
    }

    fn tick(&mut self) -> Reply {
        let states = self.mirrors.iter().map(|mirror| (mirror.run_id.clone(), mirror.state.clone()));
        let input = TickInput {
            cursor: self.cursor.clone(),
            manifest: LoadedManifest { exists: true, fingerprint: fingerprint(self.loaded), asset_prefix: None },
            location: None,
            can_reload: self.can_reload,
            interval_seconds: 30,
            sync: self.sync.clone(),
            mirrors: states.collect(),
        };
        let answer = match review("prod", &input) {
            Review::Settled(answer) => answer,
            Review::NeedsNews(tick) => {
                let from = tick
                    .cursor()
                    .last
                    .as_ref()
                    .map_or(0, |last| self.runs.iter().position(|run| run == last).map_or(0, |at| at + 1));
                let runs: Vec<NewRun> = self.runs[from..]
                    .iter()
                    .map(|run| NewRun { run_id: run.clone(), ended: self.has_ended(run), seq: None })
                    .collect();
                let fingerprint = fingerprint(self.models).filter(|_| !runs.is_empty());
                let next_is_unchanged =
                    runs.first().is_some_and(|run| run.ended && run.run_id.ends_with(['0', '3', '6']));
                let runs = NewRuns { runs, since_known: true, ..NewRuns::default() };
                tick.decide(&News { exists: true, fingerprint, runs, plans: None, next_is_unchanged })
            }
        };
        let reply = match answer {
            Answer::Reply(reply) => reply,
            Answer::Reload { done, .. } if self.reloads_work => {
                self.loaded = self.models;
                done
            }
            Answer::Reload { not_done, .. } => not_done,
        };
        self.cursor = Some(reply.cursor.clone());
        self.launch(&reply);
        self.workers();
        reply
    }

    fn has_ended(&self, run_id: &str) -> bool {
        !self.goes_on || self.runs.last().is_none_or(|last| last != run_id)
    }

    fn launch(&mut self, reply: &Reply) {
        assert!(reply.requests.len() <= 6, "a sync, and five mirrors: {reply:?}");
        let mut before: Vec<String> = Vec::new();
        for request in &reply.requests {
            if request.job == Job::Sync {
                self.sync = in_progress();
                continue;
            }
            let after = request
                .tags
                .get(".dagster/tobiko_after")
                .map(|keys| serde_json::from_str::<Vec<String>>(keys).unwrap());
            assert_eq!(after.unwrap_or_default(), before, "{reply:?}");
            if let Some(running) = self.mirrors.iter().find(|mirror| mirror.is_running()) {
                assert!(!before.is_empty(), "{} is requested while {} runs", request.run_key, running.key);
            }
            let run_id = &request.tags["tobiko/run_id"];
            assert!(!self.mirrors.iter().any(|mirror| mirror.key == request.run_key), "{} twice", request.run_key);
            self.mirrors.push(Mirror {
                key: request.run_key.clone(),
                run_id: run_id.clone(),
                after: before.clone(),
                after_any_end: request.tags.contains_key(".dagster/tobiko_after_any_end"),
                state: in_progress(),
            });
            before.push(request.run_key.clone());
        }
        // What the mirror of a run that goes on holds up would wait as long as that run does.
        let mirrors = reply.requests.iter().filter(|request| request.job == Job::Mirror);
        let run_ids: Vec<&String> = mirrors.map(|request| &request.tags["tobiko/run_id"]).collect();
        if let [first @ .., _] = run_ids.as_slice() {
            assert!(first.iter().all(|run_id| self.has_ended(run_id)), "{reply:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_new_run_is_mirrored_once_in_order(
        happenings in prop::collection::vec(happening(), 0..60),
        can_reload: bool,
        reloads_work: bool,
    ) {
        let mut world = World { can_reload, reloads_work, ..World::default() };
        world.tick();
        for happening in &happenings {
            world.happens(happening);
            // Several may end between two ticks.
            if matches!(happening, Happening::Ends("SUCCESS")) {
                continue;
            }
            let reply = world.tick();
            prop_assert_eq!(reply.requests.is_empty(), reply.skip_reason.is_some());
        }
        // Whatever was missed is caught up when everything goes well again.
        let mut waits = VecDeque::new();
        while waits.len() < 12 {
            world.happens(&Happening::Ends("SUCCESS"));
            if world.tick().requests.is_empty() { waits.push_back(()); } else { waits.clear(); }
        }
        let firsts: Vec<&String> = world.mirrors.iter().map(|mirror| &mirror.key).filter(|key| !key.contains('#')).collect();
        prop_assert_eq!(firsts, world.runs.iter().collect::<Vec<_>>());
        for run in &world.runs {
            let attempts = world.mirrors.iter().filter(|mirror| mirror.run_id == *run).count();
            prop_assert!(attempts as u64 <= ATTEMPTS);
        }
        prop_assert!(world.written.is_sorted(), "an older run wrote after a newer one: {:?}", world.written);
    }

    #[test]
    fn any_text_is_a_cursor_and_is_written_as_one(text in ".{0,60}") {
        let cursor = Cursor::parse(Some(&text));
        prop_assert_eq!(Cursor::parse(Some(&cursor.write())), cursor);
    }

    #[test]
    fn any_json_is_a_cursor(fields in prop::collection::btree_map(field(), value(), 0..12)) {
        let mut record: serde_json::Map<String, serde_json::Value> = fields.into_iter().collect();
        record.insert("version".to_owned(), 1.into());
        let cursor = Cursor::parse(Some(&serde_json::Value::Object(record.clone()).to_string()));
        let written: serde_json::Value = serde_json::from_str(&cursor.write()).unwrap();
        prop_assert_eq!(Cursor::parse(Some(&cursor.write())), cursor);
        for (name, value) in record.iter().filter(|(name, _)| name.starts_with("other")) {
            prop_assert_eq!(&written[name], value);
        }
    }
}

fn field() -> impl Strategy<Value = String> {
    let known =
        ["synced", "sync_attempt", "last", "attempt", "chain", "newest_only", "reload_for", "reload_with", "shown"];
    prop_oneof![prop::sample::select(known.map(str::to_owned).to_vec()), "other_[a-c]".boxed()]
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-z]{0,3}".prop_map(Into::into),
        prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(Into::into),
    ]
}
