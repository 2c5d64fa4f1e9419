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
    /// A remote run starts, with the models of this version.
    Run(u8),
    /// The mirror in progress, and the sync, end with this status.
    Ends(&'static str),
    /// The code location is loaded anew.
    Loaded,
    Nothing,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3u8).prop_map(Happening::Run),
        4 => prop::sample::select(vec!["SUCCESS", "FAILURE", "CANCELED"]).prop_map(Happening::Ends),
        1 => Just(Happening::Loaded),
        1 => Just(Happening::Nothing),
    ]
}

/// Dagster and the cloud, as far as the sensor sees them.
#[derive(Default)]
struct World {
    cursor: Option<String>,
    runs: Vec<String>,
    models: u8,
    loaded: u8,
    can_reload: bool,
    reloads_work: bool,
    sync: Option<DagsterRun>,
    mirror: Option<DagsterRun>,
    /// All mirrors that were requested.
    mirrored: Vec<String>,
}

fn fingerprint(models: u8) -> Option<String> {
    Some(format!("f{models}"))
}

fn in_progress() -> Option<DagsterRun> {
    Some(DagsterRun { status: "STARTED".to_owned(), is_running: true, is_complete: false })
}

impl World {
    fn happens(&mut self, happening: &Happening) {
        match happening {
            Happening::Run(models) => {
                self.models = *models;
                self.runs.push(format!("r{}", self.runs.len()));
            }
            Happening::Ends(status) => {
                for run in [&mut self.mirror, &mut self.sync].into_iter().flatten() {
                    *run = DagsterRun { status: (*status).to_owned(), is_running: false, is_complete: false };
                }
            }
            Happening::Loaded => self.loaded = self.models,
            Happening::Nothing => {}
        }
    }

    fn tick(&mut self) -> Reply {
        let input = TickInput {
            cursor: self.cursor.clone(),
            manifest: LoadedManifest { exists: true, fingerprint: fingerprint(self.loaded) },
            location: None,
            can_reload: self.can_reload,
            interval_seconds: 30,
            sync: self.sync.clone(),
            mirror: self.mirror.clone(),
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
                    .map(|run| NewRun { run_id: run.clone(), ended: true, seq: None })
                    .collect();
                let fingerprint = fingerprint(self.models).filter(|_| !runs.is_empty());
                let runs = NewRuns { runs, since_known: true, ..NewRuns::default() };
                tick.decide(&News { exists: true, fingerprint, runs, plans: None })
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
        for request in &reply.requests {
            match request.job {
                Job::Sync => self.sync = in_progress(),
                Job::Mirror => {
                    assert!(
                        !self.mirror.as_ref().is_some_and(|mirror| mirror.is_running),
                        "{} is requested while another mirror runs",
                        request.run_key
                    );
                    self.mirror = in_progress();
                    self.mirrored.push(request.run_key.clone());
                }
            }
        }
        reply
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_new_run_is_mirrored_once_in_order(
        happenings in prop::collection::vec(happening(), 0..40),
        can_reload: bool,
        reloads_work: bool,
    ) {
        let mut world = World { can_reload, reloads_work, ..World::default() };
        world.tick();
        for happening in &happenings {
            world.happens(happening);
            let reply = world.tick();
            prop_assert_eq!(reply.requests.is_empty(), reply.skip_reason.is_some());
        }
        // Whatever was missed is caught up when everything goes well again.
        let mut waits = VecDeque::new();
        while waits.len() < 6 {
            world.happens(&Happening::Ends("SUCCESS"));
            if world.tick().requests.is_empty() { waits.push_back(()); } else { waits.clear(); }
        }
        let first = |key: &&String| !key.contains('#');
        let firsts: Vec<&String> = world.mirrored.iter().filter(first).collect();
        prop_assert_eq!(firsts, world.runs.iter().collect::<Vec<_>>());
        for run in &world.runs {
            let again = format!("{run}#");
            let attempts = world.mirrored.iter().filter(|key| *key == run || key.starts_with(&again)).count();
            prop_assert!(attempts as u64 <= ATTEMPTS);
        }
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
    let known = ["synced", "sync_attempt", "last", "attempt", "newest_only", "reload_for", "reload_with", "shown"];
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
