//! Which remote runs are new since the cursor, in the order in which they are mirrored.
//!
//! A run may become known late: two machines record and one was away, or a clock is behind. A local cloud numbers its runs in
//! the order in which it came to know them (`seq`), and they are taken in that order. Tobiko Cloud does not: there, the newest
//! runs are compared by id with those that were there at the tick before, so a late one is found as long as it is among them.

use std::collections::HashSet;

use anyhow::{Context, Result};
use tobiko_client::{Client, Run, RunsQuery, Sort};

use super::cursor::Cursor;
use crate::polling::runs::{newest, oldest_first, those_after};

/// How many runs are mirrored at most; the rest is counted.
const MOST: usize = 25;
/// How many of the newest runs are compared by id.
const WINDOW: usize = MOST + 1;

/// The runs that the sensor does not know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRuns {
    /// In the order in which they are mirrored.
    pub runs: Vec<NewRun>,
    /// How many more there are, which come before them.
    pub missed: usize,
    /// Whether the cloud knows the cursor's last run; if not, `runs` is the newest one only.
    pub since_known: bool,
    /// Ids of the newest runs, where the cloud does not number them.
    pub window: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRun {
    pub run_id: String,
    pub ended: bool,
    /// Its number, where the cloud numbers its runs.
    pub seq: Option<u64>,
}

/// Requests the runs. One small request when there are none.
pub async fn fetch(client: &Client, environment: &str, cursor: &Cursor) -> Result<NewRuns> {
    if let (Some(last), Some(seq)) = (&cursor.last, cursor.seq)
        && let Some(found) = numbered(client, environment, last, seq).await?
    {
        return Ok(found);
    }
    let window = newest(client, environment, WINDOW).await?;
    if !window.is_empty() && window.iter().all(|run| run.seq.is_some()) {
        return after(client, environment, cursor, window).await.map(in_order_of_seq);
    }
    after(client, environment, cursor, window).await
}

/// The runs after number `seq`; `None`: this cloud does not number runs (any more).
async fn numbered(client: &Client, environment: &str, last: &str, seq: u64) -> Result<Option<NewRuns>> {
    let query = RunsQuery { environment: Some(environment.to_owned()), last: Some(true), ..RunsQuery::default() };
    let mut found = client.runs(&query).await.context("cannot get the environment's last run")?;
    let Some(newest) = found.pop() else {
        return Ok(Some(NewRuns { since_known: true, ..NewRuns::default() }));
    };
    let Some(newest_seq) = newest.seq else {
        return Ok(None);
    };
    if newest_seq == seq && newest.run_id == last {
        return Ok(Some(NewRuns { since_known: true, ..NewRuns::default() }));
    }
    let query = RunsQuery {
        environment: Some(environment.to_owned()),
        since_run_id: Some(last.to_owned()),
        sort: Some(Sort::Asc),
        ..RunsQuery::default()
    };
    let mut runs = client.runs(&query).await.context("cannot get the runs since the last one")?;
    runs.retain(|run| run.seq > Some(seq));
    if runs.is_empty() {
        // Whether it is gone is asked of the run itself: where it is known, the newest runs say what is new.
        if client.run(last).await.context("cannot get the last run that was seen")?.is_none() {
            return Ok(Some(lost(&newest, Vec::new())));
        }
        runs = self::newest(client, environment, WINDOW).await?;
        runs.retain(|run| run.seq > Some(seq));
    }
    runs.sort_by_key(|run| run.seq);
    Ok(Some(at_most(runs, Vec::new())))
}

/// The runs of a window (oldest first) that the cursor does not know; more requests where it does not go back far enough.
async fn after(client: &Client, environment: &str, cursor: &Cursor, window: Vec<Run>) -> Result<NewRuns> {
    let ids = window.iter().map(|run| run.run_id.clone()).collect();
    let Some(last) = &cursor.last else {
        return Ok(at_most(window, ids));
    };
    if window.is_empty() {
        return Ok(NewRuns { since_known: true, ..NewRuns::default() });
    }
    if let Some(new) = unknown_to(cursor, last, &window) {
        return Ok(at_most(new, ids));
    }
    let query = RunsQuery {
        environment: Some(environment.to_owned()),
        since_run_id: Some(last.clone()),
        sort: Some(Sort::Desc),
        ..RunsQuery::default()
    };
    let Some(seen) = client.run(last).await.context("cannot get the last run that was seen")? else {
        return Ok(window.last().map_or_else(NewRuns::default, |newest| lost(newest, ids)));
    };
    // Whether `since_run_id` holds that run itself, or is honored at all, is not documented: all three are handled.
    let mut runs = oldest_first(client.runs(&query).await.context("cannot get the runs since the last one")?);
    if runs.is_empty() {
        runs = window;
    }
    Ok(at_most(those_after(runs, last, seen.start_at), ids))
}

/// The runs of the window that are new; `None`: it holds none that is known.
fn unknown_to(cursor: &Cursor, last: &str, window: &[Run]) -> Option<Vec<Run>> {
    if cursor.seen.is_empty() {
        // Of a release that did not keep them.
        let at = window.iter().position(|run| run.run_id == last)?;
        return Some(window[at + 1..].to_vec());
    }
    let known: HashSet<&str> = cursor.seen.iter().map(String::as_str).chain([last]).collect();
    let first_known = window.iter().position(|run| known.contains(run.run_id.as_str()))?;
    // A full window may reach further back than before, when the cloud has deleted runs.
    let from = if window.len() < WINDOW { 0 } else { first_known };
    Some(window[from..].iter().filter(|run| !known.contains(run.run_id.as_str())).cloned().collect())
}

fn lost(newest: &Run, window: Vec<String>) -> NewRuns {
    NewRuns { runs: vec![new_run(newest)], missed: 0, since_known: false, window }
}

fn at_most(mut runs: Vec<Run>, window: Vec<String>) -> NewRuns {
    let missed = runs.len().saturating_sub(MOST);
    runs.drain(..missed);
    NewRuns { runs: runs.iter().map(new_run).collect(), missed, since_known: true, window }
}

fn in_order_of_seq(mut found: NewRuns) -> NewRuns {
    found.runs.sort_by_key(|run| run.seq);
    found.window.clear();
    found
}

fn new_run(run: &Run) -> NewRun {
    NewRun { run_id: run.run_id.clone(), ended: run.ended(), seq: run.seq }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn window(ids: &str) -> Vec<Run> {
        let run = |(at, id): (usize, &str)| Run {
            run_id: id.to_owned(),
            start_at: Timestamp::from_second(i64::try_from(at).unwrap()).ok(),
            ..Run::default()
        };
        ids.split_whitespace().enumerate().map(run).collect()
    }

    fn cursor(last: &str, seen: &str) -> Cursor {
        let seen = seen.split_whitespace().map(str::to_owned).collect();
        Cursor { synced: true, last: Some(last.to_owned()), seen, ..Cursor::default() }
    }

    #[track_caller]
    fn check(last: &str, seen: &str, ids: &str, expected: Option<&str>) {
        let found = unknown_to(&cursor(last, seen), last, &window(ids));
        let found = found.map(|runs| runs.iter().map(|run| run.run_id.clone()).collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_run_that_becomes_known_late_is_found() {
        check("c", "a b c", "a b c", Some(""));
        check("c", "a b c", "a late b c d", Some("late d"));
        check("c", "a b c", "early a b c", Some("early"));
        check("late", "a b c late", "a late b c", Some(""));
    }

    #[test]
    fn a_cursor_without_a_window_goes_by_its_last_run() {
        check("b", "", "a b c d", Some("c d"));
        check("x", "", "a b c d", None);
    }

    #[test]
    fn a_window_of_unknown_runs_means_nothing() {
        check("a", "a b", "c d", None);
    }

    #[test]
    fn what_a_full_window_holds_before_the_first_known_run_is_old() {
        let ids: Vec<String> = (0..WINDOW).map(|n| format!("r{n}")).collect();
        check(
            "r9",
            "r5 r9",
            &ids.join(" "),
            Some(&{
                let new: Vec<&str> = ids[6..].iter().map(String::as_str).filter(|id| *id != "r9").collect();
                new.join(" ")
            }),
        );
    }
}
