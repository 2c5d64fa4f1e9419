//! The heartbeat watch: a killed process tells no end, so that a run or plan which has been silent for too long is ended here.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::moment::Moment;
use crate::store::{Status, Store, ask};

/// How often it looks, at least.
const SLOWEST_LOOK: Duration = Duration::from_secs(5);

/// Looks again and again, until it is dropped.
pub(crate) async fn watch(store: Arc<Store>, stale_after: Duration) {
    let pause = (stale_after / 4).clamp(Duration::from_millis(20), SLOWEST_LOOK);
    let mut last_look = Moment::now();
    loop {
        tokio::time::sleep(pause).await;
        let now = Moment::now();
        let overslept = has_overslept(last_look, now, pause, stale_after);
        last_look = now;
        let done = store.write(move |connection| match overslept {
            true => ask::hear_all(connection, now),
            false => end_stale(connection, now, stale_after),
        });
        if let Err(error) = done.await {
            tracing::error!("could not look for silent runs: failed to {error}");
        }
    }
}

/// Whether the clock jumped or the machine slept between two looks: the recorders could not report either.
fn has_overslept(last_look: Moment, now: Moment, pause: Duration, stale_after: Duration) -> bool {
    last_look < now.earlier_by(pause * 2 + stale_after / 2)
}

/// Ends what has been silent for longer than `stale_after`. Its open evaluations stay open, as those of a crashed
/// scheduler do.
fn end_stale(connection: &Connection, now: Moment, stale_after: Duration) -> rusqlite::Result<()> {
    for activity in ask::silent_since(connection, now.earlier_by(stale_after))? {
        let kind = activity.kind.as_str();
        let message = format!(
            "the process of this {kind} stopped reporting: nothing was heard of it since {} UTC, so it was \
             probably killed",
            activity.heard_at.for_people()
        );
        tracing::warn!(environment = activity.environment, id = activity.id, "{message}");
        ask::end_activity(connection, activity.seq, Status::Failed, Some(&message), now, activity.heard_at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;

    #[test]
    fn sleeping_is_noticed() {
        let now = Moment::now();
        let check = |seconds: u64, expected: bool| {
            let last_look = now.earlier_by(Duration::from_secs(seconds));
            assert_eq!(has_overslept(last_look, now, SLOWEST_LOOK, Duration::from_secs(60)), expected, "{seconds}");
        };
        check(5, false);
        check(30, false);
        check(41, true);
        check(3600, true);
    }

    #[tokio::test]
    async fn a_server_that_was_away_itself_gives_every_run_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cloud.db");
        let (now, minute) = (Moment::now(), Duration::from_secs(60));
        let long_ago = now.earlier_by(minute * 60);
        let ends = async |store: &Arc<Store>| {
            let ended = store.write(move |connection| {
                end_stale(connection, now, minute)?;
                Ok(ask::activity(connection, Kind::Run, "r1")?.is_some_and(|run| run.end_at.is_some()))
            });
            ended.await.expect("an answer")
        };

        let store = Store::open(&file).expect("a database");
        let start =
            store.write(move |connection| ask::start_activity(connection, Kind::Run, "r1", "prod", long_ago, long_ago));
        start.await.expect("started");
        drop(store);
        assert!(!ends(&Store::open(&file).expect("a database")).await);

        let store = Store::open(&file).expect("a database");
        let silent = store.write(move |connection| ask::hear(connection, Kind::Run, "r1", long_ago));
        silent.await.expect("heard");
        assert!(ends(&store).await);
    }
}
