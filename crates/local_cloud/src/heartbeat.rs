//! The heartbeat watch: a killed process reports no end, so a run or plan without a heartbeat for too long is failed here.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::{Status, Store, queries};
use crate::timestamp::Timestamp;

/// Longest time between two checks.
const MAX_INTERVAL: Duration = Duration::from_secs(5);

/// Checks again and again, until it is dropped.
pub(crate) async fn watch(store: Arc<Store>, stale_after: Duration) {
    let pause = (stale_after / 4).clamp(Duration::from_millis(20), MAX_INTERVAL);
    let mut last_check = Timestamp::now();
    loop {
        tokio::time::sleep(pause).await;
        let now = Timestamp::now();
        let suspended = was_suspended(last_check, now, pause, stale_after);
        last_check = now;
        let checked = store.write(move |connection| {
            if suspended {
                queries::record_all_heartbeats(connection, now)
            } else {
                fail_stale(connection, now, stale_after)
            }
        });
        if let Err(error) = checked.await {
            tracing::error!("could not check for runs without a heartbeat: failed to {error}");
        }
    }
}

/// Whether the clock jumped or the machine slept between two checks: the recorders could send no heartbeats either.
fn was_suspended(last_check: Timestamp, now: Timestamp, pause: Duration, stale_after: Duration) -> bool {
    last_check < now.earlier_by(pause * 2 + stale_after / 2)
}

/// Fails runs and plans without a heartbeat for `stale_after`. Their open evaluations stay open, as those of a crashed
/// scheduler do.
fn fail_stale(connection: &Connection, now: Timestamp, stale_after: Duration) -> rusqlite::Result<()> {
    for activity in queries::without_heartbeat_since(connection, now.earlier_by(stale_after))? {
        let kind = activity.kind.as_str();
        let message = format!(
            "the process of this {kind} stopped reporting: no heartbeat since {} UTC, so it was probably killed",
            activity.last_heartbeat_at.for_people()
        );
        tracing::warn!(environment = activity.environment, id = activity.id, "{message}");
        queries::end_activity(
            connection,
            activity.seq,
            Status::Failed,
            Some(&message),
            now,
            activity.last_heartbeat_at,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;
    use crate::store::queries::NewActivity;

    #[test]
    fn a_suspended_machine_is_noticed() {
        let now = Timestamp::now();
        let check = |seconds: u64, expected: bool| {
            let last_check = now.earlier_by(Duration::from_secs(seconds));
            assert_eq!(was_suspended(last_check, now, MAX_INTERVAL, Duration::from_secs(60)), expected, "{seconds}");
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
        let (now, minute) = (Timestamp::now(), Duration::from_secs(60));
        let long_ago = now.earlier_by(minute * 60);
        let ends = async |store: &Arc<Store>| {
            let ended = store.write(move |connection| {
                fail_stale(connection, now, minute)?;
                Ok(queries::activity(connection, Kind::Run, "r1")?.is_some_and(|run| run.end_at.is_some()))
            });
            ended.await.expect("an answer")
        };

        let new = NewActivity { project: 1, kind: Kind::Run, id: "r1", environment: "prod" };
        let store = Store::open(&file).expect("a database");
        let start = store.write(move |connection| queries::start_activity(connection, new, long_ago, long_ago));
        start.await.expect("started");
        drop(store);
        assert!(!ends(&Store::open(&file).expect("a database")).await);

        let store = Store::open(&file).expect("a database");
        let silent = store.write(move |connection| queries::record_heartbeat(connection, Kind::Run, "r1", long_ago));
        silent.await.expect("written");
        assert!(ends(&store).await);
    }
}
