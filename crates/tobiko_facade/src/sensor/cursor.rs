//! What the sensor remembers from one tick to the next: a small versioned JSON record.
//!
//! The original package's cursors are understood: a bare run id, and a mark that only the sync was requested. Fields that
//! this version does not know are kept, so that a newer release finds them again after a downgrade.

use serde_json::{Map, Value, json};

const VERSION: u64 = 1;
const ORIGINAL_SYNCED: &str = "__initial_sync_complete__";

/// A reload is tried with the run that brought a new fingerprint, and once more with the next run.
const RELOADS_PER_FINGERPRINT: usize = 2;
/// The daemon of Dagster 1.9.1 has a code server of its own, which is renewed a minute or so after the reload.
const RELOAD_WAIT_S: u64 = 90;
/// The daemon looks so often which sensors are due, whatever they ask for.
const SHORTEST_INTERVAL_S: u64 = 5;
const DEFAULT_INTERVAL_S: u64 = 30;
/// A mirror, or a sync, that died is relaunched twice.
pub const ATTEMPTS: u64 = 3;

/// How far the sensor has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cursor {
    /// The first sync has been requested.
    pub synced: bool,
    /// How often a sync was requested; 0: the last one has ended.
    pub sync_attempt: u64,
    /// The newest remote run that was dealt with; `None`: there was none.
    pub last: Option<String>,
    /// The mirrors that were requested together, oldest run first, that of `last` at the end; empty: all have been dealt with.
    pub chain: Vec<RequestedMirror>,
    /// Of the next runs, mirror the newest only.
    pub newest_only: bool,
    /// The fingerprint for which a reload was tried last, and the remote runs with which it was tried.
    pub reload_for: Option<String>,
    pub reload_with: Vec<String>,
    /// For how many more ticks to wait until what was reloaded is what ticks.
    pub reload_wait: u64,
    /// The fingerprint that Dagster's page is known to show. What ticks may be newer: the daemon of Dagster 1.9.1 renews
    /// its own code server every minute, and not the webserver's.
    pub shown: Option<String>,
    /// A reload of this code location changed nothing, as that of a code server of `dagster api grpc`: not waited for again.
    pub reload_without_effect: bool,
    /// The number of `last`, where the cloud numbers its runs.
    pub seq: Option<u64>,
    /// The newest runs that were dealt with, where it does not.
    pub seen: Vec<String>,
    pub plans: PlanMarks,
    /// The plan for which the last sync was requested.
    pub sync_plan: Option<String>,
    /// Fields of other releases.
    pub unknown: Map<String, Value>,
}

/// A mirror that was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedMirror {
    pub run_id: String,
    /// How often it was requested.
    pub attempt: u64,
}

/// Where plans stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanMarks {
    /// The number of the newest plan that was dealt with, where the cloud has plans.
    pub seq: Option<u64>,
    /// The newest evaluation, where it has not; empty: there was none.
    pub evaluation: Option<String>,
    /// Evaluations of plans that were open.
    pub open: Vec<String>,
    /// A plan of which something has ended, and whose sync waits for the rest.
    pub due: Option<String>,
}

impl Cursor {
    /// An empty cursor is one that has seen nothing. Whatever the text, there is a cursor for it.
    pub fn parse(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Self::default();
        }
        if text == ORIGINAL_SYNCED {
            return Self { synced: true, newest_only: true, ..Self::default() };
        }
        let record = serde_json::from_str(text).ok().filter(|record: &Map<_, _>| record.contains_key("version"));
        let Some(mut record) = record else {
            return Self { synced: true, last: Some(text.to_owned()), ..Self::default() };
        };
        record.remove("version");
        let mut take = |name: &str| record.remove(name).unwrap_or_default();
        let last = some_text(take("last"));
        let chain = chain(&take("chain"), last.as_deref(), number(&take("attempt")));
        let cursor = Self {
            synced: take("synced").as_bool().unwrap_or_default(),
            sync_attempt: number(&take("sync_attempt")),
            last,
            chain,
            newest_only: take("newest_only").as_bool().unwrap_or_default(),
            reload_for: some_text(take("reload_for")),
            reload_with: texts(take("reload_with")),
            reload_wait: number(&take("reload_wait")),
            shown: some_text(take("shown")),
            reload_without_effect: take("reload_without_effect").as_bool().unwrap_or_default(),
            seq: take("seq").as_u64(),
            seen: texts(take("seen")),
            plans: PlanMarks {
                seq: take("plan_seq").as_u64(),
                evaluation: take("plan_evaluation").as_str().map(str::to_owned),
                open: texts(take("plan_open")),
                due: some_text(take("plan_due")),
            },
            sync_plan: some_text(take("sync_plan")),
            unknown: Map::new(),
        };
        Self { unknown: record, ..cursor }
    }

    /// The text that Dagster keeps.
    pub fn write(&self) -> String {
        let mut record = self.unknown.clone();
        let known = [
            ("version", json!(VERSION)),
            ("synced", json!(self.synced)),
            ("sync_attempt", json!(self.sync_attempt)),
            ("last", json!(self.last)),
            // That of `last`, for releases that know no chains.
            ("attempt", json!(self.chain.last().map_or(0, |mirror| mirror.attempt))),
            ("chain", self.chain.iter().map(RequestedMirror::write).collect()),
            ("newest_only", json!(self.newest_only)),
            ("reload_for", json!(self.reload_for)),
            ("reload_with", json!(self.reload_with)),
            ("reload_wait", json!(self.reload_wait)),
            ("shown", json!(self.shown)),
            ("reload_without_effect", json!(self.reload_without_effect)),
            ("seq", json!(self.seq)),
            ("seen", json!(self.seen)),
            ("plan_seq", json!(self.plans.seq)),
            ("plan_evaluation", json!(self.plans.evaluation)),
            ("plan_open", json!(self.plans.open)),
            ("plan_due", json!(self.plans.due)),
            ("sync_plan", json!(self.sync_plan)),
        ];
        record.extend(known.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(record).to_string()
    }

    /// Mirrors of these runs are requested for the first time; `seq`: the number of the last of them.
    pub fn mirrors_requested<'r>(self, run_ids: impl Iterator<Item = &'r str>, seq: Option<u64>) -> Self {
        let chain: Vec<_> = run_ids.map(|run_id| RequestedMirror { run_id: run_id.to_owned(), attempt: 1 }).collect();
        let last = chain.last().map(|mirror| mirror.run_id.clone());
        Self { synced: true, last, seq, chain, newest_only: false, ..self }
    }

    /// Everything up to this run is dealt with, and it is not to be mirrored itself.
    pub fn passed(self, run_id: Option<&str>, seq: Option<u64>) -> Self {
        Self { synced: true, last: run_id.map(str::to_owned), seq, chain: Vec::new(), newest_only: false, ..self }
    }

    /// Whether a reload may be tried for `fingerprint`, which came with `with`: a run, or a plan.
    pub fn may_reload(&self, fingerprint: &str, with: &str) -> bool {
        if self.reload_for.as_deref() != Some(fingerprint) {
            return true;
        }
        let is_of_use = self.reload_with.len() < RELOADS_PER_FINGERPRINT && !self.reload_without_effect;
        is_of_use && !self.reload_with.iter().any(|other| other == with)
    }

    /// A reload was tried, which is waited for if it worked; `interval_s` is the time between two ticks, 0 if it is not known.
    pub fn reloaded(mut self, fingerprint: &str, with: &str, worked: bool, interval_s: u64) -> Self {
        if self.reload_for.as_deref() != Some(fingerprint) {
            self.reload_with.clear();
        }
        self.reload_with.push(with.to_owned());
        self.reload_for = Some(fingerprint.to_owned());
        self.reload_wait = if worked { ticks_to_wait(interval_s) } else { 0 };
        if worked {
            self.shown = self.reload_for.clone();
        }
        self
    }
}

impl RequestedMirror {
    fn parse(value: &Value) -> Option<Self> {
        let run_id = value["run_id"].as_str()?.to_owned();
        Some(Self { run_id, attempt: number(&value["attempt"]) })
    }

    fn write(&self) -> Value {
        json!({"run_id": self.run_id, "attempt": self.attempt})
    }
}

/// An older release has no chain, and keeps one that it was handed as it was: then it is out of date.
fn chain(value: &Value, last: Option<&str>, attempt: u64) -> Vec<RequestedMirror> {
    let Some(last) = last.filter(|_| attempt > 0) else {
        return Vec::new();
    };
    let newest = RequestedMirror { run_id: last.to_owned(), attempt };
    let chain: Vec<_> = value.as_array().into_iter().flatten().filter_map(RequestedMirror::parse).collect();
    if chain.last() == Some(&newest) { chain } else { vec![newest] }
}

fn ticks_to_wait(interval_s: u64) -> u64 {
    let interval_s = if interval_s == 0 { DEFAULT_INTERVAL_S } else { interval_s.max(SHORTEST_INTERVAL_S) };
    RELOAD_WAIT_S.div_ceil(interval_s)
}

fn some_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Cursor) {
        assert_eq!(Cursor::parse(Some(text)), *expected, "{text}");
    }

    /// From run keys.
    fn chain_of(keys: &str) -> Vec<RequestedMirror> {
        let mirror = |key: &str| {
            let (run_id, attempt) = key.split_once('#').unwrap_or((key, "1"));
            RequestedMirror { run_id: run_id.to_owned(), attempt: attempt.parse().unwrap() }
        };
        keys.split_whitespace().map(mirror).collect()
    }

    fn synced_up_to(run_id: &str) -> Cursor {
        Cursor { synced: true, last: Some(run_id.to_owned()), ..Cursor::default() }
    }

    #[test]
    fn an_empty_cursor_has_seen_nothing() {
        assert_eq!(Cursor::parse(None), Cursor::default());
        check("", &Cursor::default());
    }

    #[test]
    fn cursors_of_the_original_are_understood() {
        check("5e0f", &synced_up_to("5e0f"));
        check("12", &synced_up_to("12"));
        check(r#"{"no": "record of ours"}"#, &synced_up_to(r#"{"no": "record of ours"}"#));
        check("__initial_sync_complete__", &Cursor { synced: true, newest_only: true, ..Cursor::default() });
    }

    #[test]
    fn a_damaged_record_is_read_as_far_as_it_goes() {
        check(r#"{"version":1,"last":5,"attempt":"x","reload_with":7,"sync_attempt":null}"#, &Cursor::default());
    }

    #[test]
    fn what_another_release_added_is_kept() {
        let cursor = Cursor::parse(Some(r#"{"version":2,"last":"r","synced":true,"more":[1]}"#));
        assert_eq!(Cursor { unknown: Map::new(), ..cursor.clone() }, synced_up_to("r"));
        let written: Value = serde_json::from_str(&cursor.write()).unwrap();
        assert_eq!((&written["more"], &written["version"]), (&json!([1]), &json!(1)));
    }

    /// As the Python package of 2.0's first form wrote it.
    #[test]
    fn a_record_of_the_first_form_is_read_whole() {
        let text = r#"{"version":1,"synced":true,"sync_attempt":2,"last":"r1","attempt":3,"newest_only":false,"reload_for":"f1","reload_with":["r0","r1"],"reload_wait":1,"shown":"f0"}"#;
        let cursor = Cursor::parse(Some(text));
        let expected = Cursor {
            sync_attempt: 2,
            chain: chain_of("r1#3"),
            reload_for: Some("f1".to_owned()),
            reload_with: vec!["r0".to_owned(), "r1".to_owned()],
            reload_wait: 1,
            shown: Some("f0".to_owned()),
            ..synced_up_to("r1")
        };
        assert_eq!(cursor, expected);
        let names = |text: &str| {
            let record: Map<String, Value> = serde_json::from_str(text).unwrap();
            record.into_iter().map(|(name, value)| (name, value.to_string())).collect::<Vec<_>>()
        };
        let written = names(&cursor.write());
        assert!(names(text).iter().all(|field| written.contains(field)), "{written:?}");
    }

    #[test]
    fn a_reload_is_tried_once_for_each_fingerprint_and_once_more_with_the_next_run() {
        let cursor = Cursor::default();
        assert!(cursor.may_reload("f1", "r1"));
        let cursor = cursor.reloaded("f1", "r1", true, 30);
        assert!(!cursor.may_reload("f1", "r1"));
        assert!(cursor.may_reload("f1", "r2"));
        let cursor = cursor.reloaded("f1", "r2", true, 30);
        assert!(!cursor.may_reload("f1", "r3"));
        assert!(cursor.may_reload("f2", "r3"));
        assert!(cursor.reloaded("f2", "r3", false, 30).may_reload("f2", "r4"));
    }

    #[test]
    fn remembers_what_was_requested_together_and_how_often() {
        let cursor = Cursor::default().mirrors_requested(["r1", "r2"].into_iter(), Some(4));
        assert_eq!((cursor.last.as_deref(), cursor.seq, cursor.synced), (Some("r2"), Some(4), true));
        assert_eq!(cursor.chain, chain_of("r1 r2"));
        let cursor = Cursor { chain: chain_of("r1#2 r2#3"), ..cursor };
        assert_eq!(Cursor::parse(Some(&cursor.write())), cursor);
        assert_eq!(cursor.passed(Some("r9"), None).chain, []);
    }

    #[test]
    fn a_chain_that_an_older_release_has_left_behind_is_out_of_date() {
        let chain = r#""chain":[{"run_id":"r1","attempt":1},{"run_id":"r2","attempt":1}]"#;
        let check = |fields: &str, expected: &str| {
            let cursor = Cursor::parse(Some(&format!(r#"{{"version":1,{fields}}}"#)));
            assert_eq!(cursor.chain, chain_of(expected), "{fields}");
        };
        check(&format!(r#""last":"r2","attempt":1,{chain}"#), "r1 r2");
        check(&format!(r#""last":"r3","attempt":1,{chain}"#), "r3");
        check(&format!(r#""last":"r2","attempt":2,{chain}"#), "r2#2");
        check(&format!(r#""last":"r2","attempt":0,{chain}"#), "");
        check(r#""last":"r2","attempt":2,"chain":{"run_id":"r2"}"#, "r2#2");
    }

    #[test]
    fn waits_for_a_reload_that_worked() {
        let cursor = Cursor::default().reloaded("f1", "r1", true, 30);
        assert_eq!(cursor.reload_wait, 3);
        assert_eq!(cursor.reloaded("f1", "r2", false, 30).reload_wait, 0);
        for (interval_s, expected) in [(0, 3), (1, 18), (5, 18), (10, 9), (60, 2), (90, 1), (3600, 1)] {
            assert_eq!(
                Cursor::default().reloaded("f1", "r1", true, interval_s).reload_wait,
                expected,
                "{interval_s} s"
            );
        }
    }
}
