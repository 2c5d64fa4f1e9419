//! What a tick comes to. Pure: what Dagster and the cloud know goes in, run requests and the new cursor come out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cursor::{ATTEMPTS, Cursor, RequestedMirror};
use super::messages::{Answer, DagsterRun, Job, Level, LogLine, Reply, RunRequest, TickInput};
use super::new_runs::{NewRun, NewRuns};
use super::plans::PlanNews;

const SYNC_KEY: &str = "__initial_sync__";
const PLAN_SYNC_KEY: &str = "__plan_sync__";
const RUN_ID_TAG: &str = "tobiko/run_id";
const PLAN_ID_TAG: &str = "tobiko/plan_id";
/// The run keys of the mirrors that have to end before this one begins. Dagster's pages hide tags with this prefix.
const AFTER_TAG: &str = ".dagster/tobiko_after";
/// Beside it: this one begins however those end.
const AFTER_ANY_END_TAG: &str = ".dagster/tobiko_after_any_end";
/// How many mirrors are requested at once. All but the first wait, and each holds a slot of Dagster's run queue.
const MOST_IN_CHAIN: usize = 5;
/// Stands for a run where a reload is due without one.
const NO_RUN: &str = "";
const RELOADED: &str = "the code location was reloaded: its jobs are requested when this sensor is the reloaded one";

/// What the cloud said in this tick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct News {
    /// Whether the cloud knows the environment.
    pub exists: bool,
    /// The manifest's; `None` where it was not needed.
    pub fingerprint: Option<String>,
    pub runs: NewRuns,
    /// `None`: not requested in this tick.
    pub plans: Option<PlanNews>,
    /// The next run to mirror needs nothing of what was changed since the code location was loaded.
    pub next_is_unchanged: bool,
}

/// A tick half done: what the runs in Dagster come to is settled, and the cloud is needed for the rest.
#[derive(Debug)]
pub struct Tick<'a> {
    environment: &'a str,
    cloud: &'static str,
    input: &'a TickInput,
    cursor: Cursor,
    log: Vec<LogLine>,
}

/// Whether the cloud is needed.
#[derive(Debug)]
pub enum Review<'a> {
    Settled(Answer),
    NeedsNews(Tick<'a>),
}

/// How a sync or a mirror stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    /// It stopped before completion, and no person stopped it.
    Died,
    Ended,
}

impl Progress {
    /// `None`: a person deleted it.
    fn of(run: Option<&DagsterRun>) -> Self {
        match run {
            None => Self::Ended,
            Some(run) if run.is_running => Self::Running,
            Some(run) if run.is_complete => Self::Ended,
            Some(run) if matches!(run.status.as_str(), "SUCCESS" | "CANCELED" | "CANCELING") => Self::Ended,
            Some(_) => Self::Died,
        }
    }
}

/// What the runs that were requested before come to.
pub fn review<'a>(environment: &'a str, input: &'a TickInput) -> Review<'a> {
    let cursor = Cursor::parse(input.cursor.as_deref());
    let mut tick = Tick { environment, cloud: "Tobiko Cloud", input, cursor, log: Vec::new() };
    if tick.cursor.shown.is_none() {
        tick.cursor.shown.clone_from(&input.manifest.fingerprint);
    }
    if input.manifest.exists {
        // The next time that nothing could be loaded, it is tried anew.
        tick.cursor.reload_with.retain(|with| with != NO_RUN);
    }
    tick.note_whether_reloads_work();
    match tick.after_sync().or_else(|| tick.after_mirrors()) {
        Some(reply) => Review::Settled(Answer::Reply(reply)),
        None => Review::NeedsNews(tick),
    }
}

impl Tick<'_> {
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whether it matters what plans have done: what they evaluated must not overtake remote runs that are not mirrored yet,
    /// whose results would be skipped as older ones; and one sync at a time.
    pub fn needs_plans(&self, runs: &NewRuns) -> bool {
        let is_first_time = self.cursor.plans.seq.is_none() && self.cursor.plans.evaluation.is_none();
        is_first_time || (runs.runs.is_empty() && self.cursor.sync_attempt == 0)
    }

    /// Requests the sync again if it died.
    fn after_sync(&mut self) -> Option<Reply> {
        if self.cursor.sync_attempt == 0 {
            return None;
        }
        match Progress::of(self.input.sync.as_ref()) {
            Progress::Running => return None,
            Progress::Ended => {}
            Progress::Died if self.cursor.sync_attempt < ATTEMPTS => {
                self.warn("the sync stopped before completion: relaunching");
                self.cursor.sync_attempt += 1;
                let request = sync_request(self.cursor.sync_plan.as_deref());
                return Some(self.reply(vec![request], self.cursor.clone()));
            }
            Progress::Died => self.warn(format!(
                "the sync stopped before completion {ATTEMPTS} times: it is not relaunched; launch the sync job by hand"
            )),
        }
        self.cursor.sync_attempt = 0;
        None
    }

    /// Waits for all mirrors of the chain, and requests those again that died: in their order, and each after the one before.
    fn after_mirrors(&mut self) -> Option<Reply> {
        let state = |mirror: &RequestedMirror| self.input.mirrors.get(&mirror.run_id).and_then(Option::as_ref);
        let progress: Vec<Progress> = self.cursor.chain.iter().map(|mirror| Progress::of(state(mirror))).collect();
        let running = progress.iter().filter(|progress| **progress == Progress::Running).count();
        if let Some(first) = progress.iter().position(|progress| *progress == Progress::Running) {
            let run_id = &self.cursor.chain[first].run_id;
            let more = if running == 1 { String::new() } else { format!(", behind it: {} more", running - 1) };
            let reason = format!("the mirror of remote run {run_id} has not ended yet{more}");
            return Some(self.skip(reason, self.cursor.clone()));
        }
        let died = |(mirror, progress): (_, Progress)| (progress == Progress::Died).then_some(mirror);
        let mut again = Vec::new();
        for mirror in self.cursor.chain.iter_mut().zip(progress.iter().copied()).filter_map(died) {
            if mirror.attempt < ATTEMPTS {
                mirror.attempt += 1;
                again.push(mirror.clone());
            }
        }
        if !again.is_empty() {
            for mirror in &again {
                self.warn(format!("the mirror of remote run {} stopped before completion: relaunching", mirror.run_id));
            }
            return Some(self.reply(mirror_requests(&again), self.cursor.clone()));
        }
        let chain = std::mem::take(&mut self.cursor.chain);
        for (mirror, _) in chain.iter().zip(progress).filter(|(_, progress)| *progress == Progress::Died) {
            self.warn(format!(
                "the mirror of remote run {} stopped before completion {ATTEMPTS} times: it is not relaunched",
                mirror.run_id
            ));
        }
        None
    }

    /// A reload that worked, and was waited for, has changed what ticks; else it never will.
    fn note_whether_reloads_work(&mut self) {
        let Some(wanted) = &self.cursor.reload_for else {
            return;
        };
        let loaded = &self.input.manifest;
        let was_tried = loaded.exists || self.cursor.reload_with.iter().any(|with| with == NO_RUN);
        let has_worked = self.cursor.shown.as_ref() == Some(wanted);
        if loaded.fingerprint.as_ref() == Some(wanted) {
            self.cursor.reload_without_effect = false;
        } else if was_tried && has_worked && self.cursor.reload_wait == 0 && !self.cursor.reload_without_effect {
            self.cursor.reload_without_effect = true;
            self.warn(format!(
                "{} was reloaded, and what it declares has not changed: a code server of `dagster api grpc` cannot load \
                 again. Restart it, or start it with `dagster code-server start`. Until then, reloads are not waited for.",
                self.location()
            ));
        }
    }

    fn location(&self) -> String {
        self.input.location.as_ref().map_or("the code location".to_owned(), |name| format!("code location {name}"))
    }

    /// What the cloud is called in log lines.
    pub fn of_cloud(self, cloud: &'static str) -> Self {
        Self { cloud, ..self }
    }

    /// What follows from the cloud's answers.
    pub fn decide(self, news: &News) -> Answer {
        if !news.exists {
            let reason = format!("environment {} does not exist in {} (yet)", self.environment, self.cloud);
            return Answer::Reply(self.skip(reason, self.cursor.clone()));
        }
        let runs = self.to_mirror(&news.runs.runs);
        let next = runs.first().map(|run| run.run_id.as_str());
        let plan = news.plans.as_ref().and_then(|plans| plans.due.as_deref()).filter(|_| next.is_none());
        let go = |cursor: Cursor| self.go(cursor, news, runs, plan, MOST_IN_CHAIN);
        // Whether that one may be mirrored by the job as it was loaded before; it is not known of others, nor of a sync.
        let brings_no_sync = self.cursor.synced && news.runs.since_known;
        let needs_no_reload = next.is_some() && news.next_is_unchanged && brings_no_sync;
        // A code location that was loaded before the environment existed shows nothing: its reload waits for no run.
        let fingerprint =
            news.fingerprint.as_deref().filter(|_| next.or(plan).is_some() || !self.input.manifest.exists);
        let with = next.or(plan).filter(|_| self.input.manifest.exists).unwrap_or(NO_RUN);
        match self.reload(fingerprint, with) {
            Reload::NotDue(cursor) => Answer::Reply(go(cursor)),
            Reload::InProgress(cursor) if needs_no_reload => Answer::Reply(self.go(cursor, news, runs, None, 1)),
            Reload::InProgress(cursor) => Answer::Reply(self.skip(RELOADED, cursor)),
            Reload::Due { fingerprint, is_loaded } => {
                let after = |worked| {
                    let cursor = self.cursor.clone().reloaded(fingerprint, with, worked, self.input.interval_seconds);
                    // Whatever was shown before, nothing is now.
                    let shown = cursor.shown.clone().filter(|_| worked || with != NO_RUN);
                    Cursor { shown, ..cursor }
                };
                let done = if is_loaded {
                    go(after(true))
                } else if self.cursor.reload_without_effect {
                    let mut reply = go(Cursor { reload_wait: 0, ..after(true) });
                    reply.log.push(warning(format!(
                        "models were added or removed, and the last reload of {} changed nothing: if they do not appear, \
                         restart its code server",
                        self.location()
                    )));
                    reply
                } else if needs_no_reload {
                    self.go(after(true), news, runs, None, 1)
                } else {
                    // A run requested now could be one of the job as it was loaded before.
                    self.skip(RELOADED, after(true))
                };
                Answer::Reload { done, not_done: go(after(false)) }
            }
        }
    }

    /// Of the new runs, those that are mirrored.
    pub fn to_mirror<'n>(&self, runs: &'n [NewRun]) -> &'n [NewRun] {
        if self.cursor.newest_only {
            return &runs[runs.len().saturating_sub(1)..];
        }
        if self.cursor.synced {
            return runs;
        }
        // At the first tick, the sync reports what had ended; a run in progress is mirrored, and all later ones.
        let first_open = runs.iter().position(|run| !run.ended).unwrap_or(runs.len());
        &runs[first_open..]
    }

    fn reload<'f>(&self, fingerprint: Option<&'f str>, with: &str) -> Reload<'f> {
        let mut cursor = self.cursor.clone();
        let Some(fingerprint) = fingerprint else {
            return Reload::NotDue(cursor);
        };
        let is_loaded = self.input.manifest.fingerprint.as_deref() == Some(fingerprint);
        if is_loaded && (cursor.shown.as_deref() == Some(fingerprint) || !self.input.can_reload) {
            cursor.shown = Some(fingerprint.to_owned());
            return Reload::NotDue(cursor);
        }
        // While nothing is declared, it is tried again as often as it takes.
        let again = with == NO_RUN && self.input.can_reload && !cursor.reload_without_effect;
        if !is_loaded && cursor.reload_for.as_deref() == Some(fingerprint) && cursor.reload_wait > 0 {
            cursor.reload_wait -= 1;
            return Reload::InProgress(cursor);
        }
        if cursor.may_reload(fingerprint, with) || (again && cursor.reload_wait == 0) {
            return Reload::Due { fingerprint, is_loaded };
        }
        Reload::NotDue(cursor)
    }

    /// Requests what is due, with the code location as it is: `most` mirrors at most.
    fn go(&self, mut cursor: Cursor, news: &News, runs: &[NewRun], plan: Option<&str>, most: usize) -> Reply {
        let found = &news.runs;
        let mut log = self.log.clone();
        if found.missed > 0 {
            let (missed, count) = (found.missed, runs.len());
            log.push(warning(format!(
                "{missed} remote runs were missed and are not mirrored, only the newest {count}"
            )));
        }
        let lost = cursor.last.clone().filter(|_| cursor.synced && !found.since_known);
        if let Some(last) = &lost {
            log.push(warning(format!(
                "{} does not know run {last} any more: the newest run is mirrored, and the environment is synced once",
                self.cloud
            )));
        }
        let mut requests = Vec::new();
        let was_synced = cursor.synced;
        if lost.is_some() || !was_synced || plan.is_some() {
            let plan = plan.filter(|_| was_synced && lost.is_none());
            requests.push(sync_request(plan));
            cursor.sync_attempt = 1;
            cursor.sync_plan = plan.map(str::to_owned);
        }
        if let Some(plans) = &news.plans {
            cursor.plans = plans.marks.clone();
        }
        let (chain, waiting) = runs.split_at(length_of_chain(runs, most));
        if let Some(newest) = chain.last() {
            cursor = cursor.mirrors_requested(chain.iter().map(|run| run.run_id.as_str()), newest.seq);
            requests.extend(mirror_requests(&cursor.chain));
        } else if lost.is_some() {
            cursor = cursor.passed(None, None);
        } else if !was_synced {
            let newest = found.runs.iter().max_by_key(|run| run.seq);
            cursor = cursor.passed(newest.map(|run| run.run_id.as_str()), newest.and_then(|run| run.seq));
        }
        let waiting: Vec<&str> = waiting.iter().map(|run| run.run_id.as_str()).collect();
        if !found.window.is_empty() || cursor.seq.is_some() {
            cursor.seen = found.window.iter().filter(|id| !waiting.contains(&id.as_str())).cloned().collect();
        }
        let skip_reason = requests.is_empty().then(|| "no new remote run".to_owned());
        Reply { log, requests, skip_reason, cursor: cursor.write() }
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.log.push(warning(text.into()));
    }

    fn reply(&self, requests: Vec<RunRequest>, cursor: Cursor) -> Reply {
        Reply { log: self.log.clone(), requests, skip_reason: None, cursor: cursor.write() }
    }

    fn skip(&self, reason: impl Into<String>, cursor: Cursor) -> Reply {
        Reply { skip_reason: Some(reason.into()), ..self.reply(Vec::new(), cursor) }
    }
}

/// Whether the code location has to be reloaded before runs are requested.
#[derive(Debug)]
enum Reload<'f> {
    NotDue(Cursor),
    /// It was reloaded, and an older one still ticks.
    InProgress(Cursor),
    /// `is_loaded`: what ticks is up to date already, Dagster's page is not.
    Due {
        fingerprint: &'f str,
        is_loaded: bool,
    },
}

fn warning(text: String) -> LogLine {
    LogLine { level: Level::Warning, text }
}

fn sync_request(plan: Option<&str>) -> RunRequest {
    let run_key = plan.map_or(SYNC_KEY.to_owned(), |plan| format!("{PLAN_SYNC_KEY}{plan}"));
    let tags = plan.map(|plan| (PLAN_ID_TAG.to_owned(), plan.to_owned()));
    RunRequest { job: Job::Sync, run_key, tags: tags.into_iter().collect(), plan_id: plan.map(str::to_owned) }
}

/// How many of the new runs are mirrored at once: one that goes on is the last, since its mirror ends when it does.
fn length_of_chain(runs: &[NewRun], most: usize) -> usize {
    let ended = runs.iter().take_while(|run| run.ended).count();
    runs.len().min(ended + 1).min(most)
}

/// Each mirror waits for those before it, and dies if one of them does, so that all are relaunched in order: unless those are
/// not relaunched any more. A run that cannot be mirrored takes no others along.
fn mirror_requests(mirrors: &[RequestedMirror]) -> Vec<RunRequest> {
    mirrors.iter().enumerate().map(|(at, mirror)| mirror_request(mirror, &mirrors[..at])).collect()
}

fn mirror_request(mirror: &RequestedMirror, before: &[RequestedMirror]) -> RunRequest {
    let mut tags = BTreeMap::from([(RUN_ID_TAG.to_owned(), mirror.run_id.clone())]);
    if !before.is_empty() {
        // All of them: one that a person deletes cannot say any more what it waited for.
        tags.insert(AFTER_TAG.to_owned(), before.iter().map(run_key).collect::<Value>().to_string());
    }
    if !before.is_empty() && before.iter().all(|mirror| mirror.attempt >= ATTEMPTS) {
        tags.insert(AFTER_ANY_END_TAG.to_owned(), "true".to_owned());
    }
    RunRequest { job: Job::Mirror, run_key: run_key(mirror), tags, plan_id: None }
}

fn run_key(RequestedMirror { run_id, attempt }: &RequestedMirror) -> String {
    if *attempt <= 1 { run_id.clone() } else { format!("{run_id}#{attempt}") }
}

#[cfg(test)]
mod tests {
    use super::super::messages::LoadedManifest;
    use super::*;

    /// The code location that ticks has loaded the fingerprint `f`, and Dagster's page shows it.
    fn input(cursor: &Cursor) -> TickInput {
        let cursor = Cursor { shown: cursor.shown.clone().or(Some("f".to_owned())), ..cursor.clone() };
        TickInput {
            cursor: Some(cursor.write()),
            manifest: LoadedManifest { exists: true, fingerprint: Some("f".to_owned()), asset_prefix: None },
            ..TickInput::default()
        }
    }

    fn run(status: &str) -> Option<DagsterRun> {
        let is_running = !matches!(status, "SUCCESS" | "FAILURE" | "CANCELED" | "COMPLETE" | "LOST");
        let is_complete = status == "COMPLETE";
        let status = if is_complete { "FAILURE" } else { status }.to_owned();
        Some(DagsterRun { status, is_running, is_complete })
    }

    /// New runs, with the fingerprint `f`; one that ends with `+` has ended.
    fn news(runs: &str) -> News {
        let runs = runs.split_whitespace().map(|run| NewRun {
            run_id: run.trim_end_matches('+').to_owned(),
            ended: run.ends_with('+'),
            seq: None,
        });
        News {
            exists: true,
            fingerprint: Some("f".to_owned()),
            runs: NewRuns { runs: runs.collect(), since_known: true, ..NewRuns::default() },
            plans: None,
            next_is_unchanged: false,
        }
    }

    fn synced() -> Cursor {
        Cursor { synced: true, last: Some("r0".to_owned()), ..Cursor::default() }
    }

    fn answer(input: &TickInput, news: &News) -> Answer {
        match review("prod", input) {
            Review::Settled(answer) => answer,
            Review::NeedsNews(tick) => tick.decide(news),
        }
    }

    fn keys(reply: &Reply) -> Vec<&str> {
        reply.requests.iter().map(|request| request.run_key.as_str()).collect()
    }

    #[track_caller]
    fn reply(answer: Answer) -> Reply {
        match answer {
            Answer::Reply(reply) => reply,
            Answer::Reload { .. } => panic!("no reload is due"),
        }
    }

    #[track_caller]
    fn check(input: &TickInput, news: &News, expected: &[&str]) -> Cursor {
        let reply = reply(answer(input, news));
        assert_eq!(keys(&reply), expected, "{reply:?}");
        assert_eq!(reply.requests.is_empty(), reply.skip_reason.is_some());
        Cursor::parse(Some(&reply.cursor))
    }

    #[test]
    fn first_a_sync_then_what_is_in_progress() {
        let first = input(&Cursor::default());
        assert_eq!(check(&first, &news("a+ b+"), &["__initial_sync__"]).last.as_deref(), Some("b"));
        assert_eq!(check(&first, &news("a+ b c+"), &["__initial_sync__", "b"]).last.as_deref(), Some("b"));
        assert_eq!(check(&first, &news(""), &["__initial_sync__"]).last, None);
    }

    /// How the mirrors of the cursor's chain stand, as in `r1=SUCCESS r2=STARTED`; the others were deleted.
    fn with_mirrors(cursor: &Cursor, states: &str) -> TickInput {
        let state = |text: &str| {
            let (run_id, status) = text.split_once('=').unwrap();
            (run_id.to_owned(), run(status))
        };
        TickInput { mirrors: states.split_whitespace().map(state).collect(), ..input(cursor) }
    }

    #[test]
    fn a_run_that_goes_on_is_requested_and_the_next_one_waits() {
        let cursor = check(&input(&synced()), &news("r1 r2"), &["r1"]);
        for (status, expected) in [("STARTED", vec![]), ("SUCCESS", vec!["r2"]), ("CANCELED", vec!["r2"])] {
            check(&with_mirrors(&cursor, &format!("r1={status}")), &news("r2"), &expected);
        }
    }

    #[test]
    fn ended_runs_are_requested_at_once_five_at_most_and_one_that_goes_on_as_the_last() {
        check(&input(&synced()), &news("r1+ r2+ r3 r4+"), &["r1", "r2", "r3"]);
        let cursor = check(&input(&synced()), &news("r1+ r2+ r3+ r4+ r5+ r6+"), &["r1", "r2", "r3", "r4", "r5"]);
        assert_eq!(cursor.last.as_deref(), Some("r5"));
        let first = "r1=SUCCESS r2=STARTED r3=STARTED r4=NOT_STARTED r5=QUEUED";
        let waits = reply(answer(&with_mirrors(&cursor, first), &news("r6+")));
        let reason = waits.skip_reason.unwrap_or_default();
        assert_eq!(reason, "the mirror of remote run r2 has not ended yet, behind it: 3 more");
        let last = "r1=SUCCESS r2=SUCCESS r3=SUCCESS r4=COMPLETE r5=STARTED";
        check(&with_mirrors(&cursor, last), &news("r6+"), &[]);
        let cursor = check(&with_mirrors(&cursor, &last.replace("STARTED", "CANCELED")), &news("r6+"), &["r6"]);
        assert_eq!(cursor.chain.len(), 1);
    }

    #[test]
    fn each_mirror_of_a_chain_names_those_before_it() {
        let requested = reply(answer(&input(&synced()), &news("r1+ r2+ r3+"))).requests;
        let after = requested.iter().map(|request| request.tags.get(".dagster/tobiko_after").map(String::as_str));
        assert_eq!(after.collect::<Vec<_>>(), [None, Some(r#"["r1"]"#), Some(r#"["r1","r2"]"#)]);
        assert!(requested.iter().all(|request| request.tags.len() <= 2), "{requested:?}");
    }

    #[test]
    fn of_a_chain_those_that_died_are_relaunched_in_order_as_a_chain() {
        let cursor = check(&input(&synced()), &news("r1+ r2+ r3+ r4+"), &["r1", "r2", "r3", "r4"]);
        let first = with_mirrors(&cursor, "r1=SUCCESS r2=FAILURE r3=CANCELED r4=FAILURE");
        let again = reply(answer(&first, &news("r5+")));
        assert_eq!(keys(&again), ["r2#2", "r4#2"]);
        assert_eq!(again.requests[1].tags[".dagster/tobiko_after"], r#"["r2#2"]"#);
        assert_eq!(again.log.len(), 2);
        // r4 was deleted.
        let cursor = Cursor::parse(Some(&again.cursor));
        let second = with_mirrors(&cursor, "r1=SUCCESS r2=FAILURE r3=CANCELED");
        let cursor = check(&second, &news("r5+"), &["r2#3"]);
        let third = with_mirrors(&cursor, "r1=SUCCESS r2=FAILURE r3=CANCELED");
        let given_up = reply(answer(&third, &news("r5+")));
        assert_eq!((keys(&given_up), given_up.log.len()), (vec!["r5"], 1));
    }

    #[test]
    fn at_the_last_attempt_a_mirror_that_dies_takes_no_others_along() {
        let mut cursor = check(&input(&synced()), &news("r1+ r2+"), &["r1", "r2"]);
        for any_end in [None, Some("true".to_owned())] {
            let again = reply(answer(&with_mirrors(&cursor, "r1=FAILURE r2=FAILURE"), &news("")));
            assert_eq!(again.requests[1].tags.get(".dagster/tobiko_after_any_end"), any_end.as_ref());
            assert!(!again.requests[0].tags.contains_key(".dagster/tobiko_after_any_end"));
            cursor = Cursor::parse(Some(&again.cursor));
        }
        let given_up = reply(answer(&with_mirrors(&cursor, "r1=FAILURE r2=SUCCESS"), &news("")));
        assert_eq!((keys(&given_up), given_up.log.len()), (vec![], 1));
        let idle = reply(answer(&input(&Cursor::parse(Some(&given_up.cursor))), &news("")));
        assert_eq!(idle.log, [], "it is said once");
    }

    #[test]
    fn a_cursor_of_a_release_without_chains_waits_for_its_mirror() {
        let text = r#"{"version":1,"synced":true,"last":"r1","attempt":2,"shown":"f"}"#;
        let input = |status| TickInput {
            cursor: Some(text.to_owned()),
            ..with_mirrors(&Cursor::default(), &format!("r1={status}"))
        };
        check(&input("STARTED"), &news("r2"), &[]);
        check(&input("FAILURE"), &news("r2"), &["r1#3"]);
        check(&input("SUCCESS"), &news("r2"), &["r2"]);
    }

    #[test]
    fn a_mirror_that_died_is_relaunched_twice() {
        let mut cursor = check(&input(&synced()), &news("r1"), &["r1"]);
        for expected in ["r1#2", "r1#3", "r2"] {
            cursor = check(&with_mirrors(&cursor, "r1=FAILURE"), &news("r2"), &[expected]);
        }
        check(&with_mirrors(&cursor, "r2=COMPLETE"), &news(""), &[]);
    }

    #[test]
    fn a_sync_that_died_is_relaunched_twice() {
        let mut cursor = check(&input(&Cursor::default()), &news("r0+"), &["__initial_sync__"]);
        for _ in 0..2 {
            cursor = check(&TickInput { sync: run("FAILURE"), ..input(&cursor) }, &news("r1"), &["__initial_sync__"]);
        }
        let cursor = check(&TickInput { sync: run("FAILURE"), ..input(&cursor) }, &news(""), &[]);
        assert_eq!(cursor.sync_attempt, 0);
    }

    #[test]
    fn a_run_that_is_gone_brings_a_sync() {
        let lost = |runs: &str| {
            let news = news(runs);
            News { runs: NewRuns { since_known: false, ..news.runs }, ..news }
        };
        check(&input(&synced()), &lost("r9"), &["__initial_sync__", "r9"]);
        assert_eq!(check(&input(&synced()), &lost(""), &["__initial_sync__"]).last, None);
    }

    fn with_plan(runs: &str, due: Option<&str>) -> News {
        let marks = super::super::cursor::PlanMarks { seq: Some(7), ..Default::default() };
        News { plans: Some(PlanNews { marks, due: due.map(str::to_owned) }), ..news(runs) }
    }

    #[test]
    fn a_plan_brings_a_sync_that_carries_it_and_is_relaunched_with_it() {
        let cursor = check(&input(&synced()), &with_plan("", Some("p")), &["__plan_sync__p"]);
        assert_eq!((cursor.plans.seq, cursor.sync_plan.as_deref()), (Some(7), Some("p")));
        let died = TickInput { sync: run("FAILURE"), ..input(&cursor) };
        let again = reply(answer(&died, &news("")));
        assert_eq!(again.requests[0].plan_id.as_deref(), Some("p"));
        assert_eq!(again.requests[0].tags["tobiko/plan_id"], "p");
        // The plan failed, and its sync said so.
        check(&TickInput { sync: run("COMPLETE"), ..input(&cursor) }, &news(""), &[]);
    }

    #[test]
    fn a_plan_waits_for_the_runs_before_it() {
        let cursor = check(&input(&synced()), &with_plan("r1 r2", None), &["r1"]);
        let ended = with_mirrors(&cursor, "r1=SUCCESS");
        let Review::NeedsNews(tick) = review("prod", &ended) else { panic!("the mirror has ended") };
        assert!(!tick.needs_plans(&news("r2").runs));
        assert!(tick.needs_plans(&news("").runs));
    }

    #[test]
    fn a_plan_that_adds_models_reloads_first() {
        let other = News { fingerprint: Some("g".to_owned()), ..with_plan("", Some("p")) };
        let input = TickInput { can_reload: true, ..input(&synced()) };
        let Answer::Reload { done, not_done } = answer(&input, &other) else { panic!("a reload is due") };
        assert_eq!((keys(&done), keys(&not_done)), (vec![], vec!["__plan_sync__p"]));
        assert_eq!(Cursor::parse(Some(&done.cursor)).plans.seq, None, "it is news at the next tick, too");
    }

    #[test]
    fn runs_that_wait_are_not_seen_yet() {
        let window = |runs: &str, ids: &str| {
            let news = news(runs);
            let window = ids.split_whitespace().map(str::to_owned).collect();
            News { runs: NewRuns { window, ..news.runs }, ..news }
        };
        let cursor = check(&input(&synced()), &window("late r1", "late r0 r1"), &["late"]);
        assert_eq!(cursor.seen, ["late", "r0"]);
        let cursor = check(&input(&synced()), &window("late+ r1 r2", "late r0 r1 r2"), &["late", "r1"]);
        assert_eq!(cursor.seen, ["late", "r0", "r1"]);
    }

    #[test]
    fn the_number_of_the_last_run_of_a_chain_is_remembered() {
        let mut numbered = news("r1+ r2+ r3+ r4+ r5+ r6+");
        for (run, seq) in numbered.runs.runs.iter_mut().zip(11..) {
            run.seq = Some(seq);
        }
        let cursor = check(&input(&synced()), &numbered, &["r1", "r2", "r3", "r4", "r5"]);
        assert_eq!(cursor.seq, Some(15));
    }

    #[test]
    fn a_new_fingerprint_is_reloaded_first() {
        let other = News { fingerprint: Some("g".to_owned()), ..news("r1") };
        let input_ = TickInput { can_reload: true, ..input(&synced()) };
        let Answer::Reload { done, not_done } = answer(&input_, &other) else { panic!("a reload is due") };
        assert_eq!((keys(&done), keys(&not_done)), (vec![], vec!["r1"]));
        // The reload takes a while to reach what ticks; then the run goes out all the same.
        let mut cursor = Cursor::parse(Some(&done.cursor));
        for _ in 0..3 {
            cursor = check(&TickInput { can_reload: true, ..input(&cursor) }, &other, &[]);
        }
        check(&TickInput { can_reload: true, ..input(&cursor) }, &other, &["r1"]);
    }

    #[test]
    fn a_run_that_needs_no_reload_is_requested_with_it_and_the_others_wait() {
        let with_reload = |cursor: &Cursor| TickInput { can_reload: true, ..input(cursor) };
        let other =
            |runs: &str, next_is_unchanged| News { fingerprint: Some("g".to_owned()), next_is_unchanged, ..news(runs) };
        let Answer::Reload { done, not_done } = answer(&with_reload(&synced()), &other("r1+ r2+", true)) else {
            panic!("a reload is due")
        };
        assert_eq!((keys(&done), keys(&not_done)), (vec!["r1"], vec!["r1", "r2"]));
        // While the reload has not reached what ticks, the same goes for the next one; others wait for it.
        let cursor = Cursor::parse(Some(&done.cursor));
        let cursor = check(&with_reload(&cursor), &other("r2+ r3+", true), &["r2"]);
        check(&with_reload(&cursor), &other("r3+ r4+", false), &[]);
        let mut loaded = with_reload(&cursor);
        loaded.manifest.fingerprint = Some("g".to_owned());
        check(&loaded, &other("r3+ r4+", false), &["r3", "r4"]);
    }

    #[test]
    fn a_plan_waits_for_the_reload_all_the_same() {
        let other = News { fingerprint: Some("g".to_owned()), next_is_unchanged: true, ..with_plan("", Some("p")) };
        let input = TickInput { can_reload: true, ..input(&synced()) };
        let Answer::Reload { done, .. } = answer(&input, &other) else { panic!("a reload is due") };
        assert_eq!(keys(&done), [] as [&str; 0]);
    }

    #[test]
    fn a_reload_that_changes_nothing_is_noticed_once_and_not_waited_for_again() {
        let with_reload = |cursor: &Cursor| TickInput { can_reload: true, ..input(cursor) };
        let other = |fingerprint: &str, runs: &str| News { fingerprint: Some(fingerprint.to_owned()), ..news(runs) };
        let reloaded = |answer: Answer| match answer {
            Answer::Reload { done, .. } => done,
            Answer::Reply(reply) => panic!("a reload is due: {reply:?}"),
        };
        let mut cursor = Cursor::parse(Some(&reloaded(answer(&with_reload(&synced()), &other("g", "r1"))).cursor));
        let mut warnings = Vec::new();
        for _ in 0..4 {
            let reply = reply(answer(&with_reload(&cursor), &other("g", "r1")));
            cursor = Cursor::parse(Some(&reply.cursor));
            warnings.extend(reply.log);
        }
        assert_eq!((cursor.last.as_deref(), warnings.len()), (Some("r1"), 1), "{warnings:?}");
        assert!(warnings[0].text.contains("dagster code-server start"));
        // The same models with the next run: nothing is tried. Others: tried, and not waited for.
        cursor = check(&with_reload(&cursor), &other("g", "r2"), &["r2"]);
        let done = reloaded(answer(&with_reload(&cursor), &other("h", "r3")));
        assert_eq!(keys(&done), ["r3"]);
        assert!(done.log[0].text.contains("restart"));
        // It was restarted with the other command: reloads count again.
        let mut loaded = with_reload(&Cursor::parse(Some(&done.cursor)));
        loaded.manifest.fingerprint = Some("h".to_owned());
        let cursor = Cursor::parse(Some(&reply(answer(&loaded, &other("h", "r4"))).cursor));
        assert!(!cursor.reload_without_effect);
    }

    #[test]
    fn where_nothing_could_be_loaded_a_reload_is_tried_until_it_works() {
        let nothing = |cursor: &Cursor| TickInput {
            cursor: Some(cursor.write()),
            can_reload: true,
            manifest: LoadedManifest::default(),
            ..input(cursor)
        };
        let mut cursor = synced().reloaded("f", "r1", true, 30).reloaded("f", "r2", true, 30);
        cursor.reload_wait = 0;
        for _ in 0..3 {
            let Answer::Reload { not_done, .. } = answer(&nothing(&cursor), &news("")) else {
                panic!("a reload is due");
            };
            cursor = Cursor::parse(Some(&not_done.cursor));
        }
        // Without a webserver to ask, once.
        let alone = |cursor: &Cursor| TickInput { can_reload: false, ..nothing(cursor) };
        let Answer::Reload { not_done, .. } = answer(&alone(&synced()), &news("r1")) else { panic!("it is said") };
        assert_eq!(keys(&not_done), ["r1"]);
        check(&alone(&Cursor::parse(Some(&not_done.cursor))), &news("r2"), &["r2"]);
    }

    #[test]
    fn the_answer_is_what_python_reads() {
        let answer = serde_json::to_value(answer(&input(&synced()), &news("r1"))).unwrap();
        let request = &answer["reply"]["requests"][0];
        assert_eq!(request["job"], "mirror");
        assert_eq!(request["tags"]["tobiko/run_id"], "r1");
        assert_eq!(answer["reply"]["skip_reason"], Value::Null);
        assert_eq!(answer["reply"]["log"], serde_json::json!([]));
    }
}
