//! An environment's runs, in the order in which they started.

use anyhow::{Context, Result};
use jiff::Timestamp;
use tobiko_client::{Client, Run, RunsQuery, Sort};

/// The newest `limit` runs, oldest first.
pub async fn newest(client: &Client, environment: &str, limit: usize) -> Result<Vec<Run>> {
    let query = RunsQuery {
        environment: Some(environment.to_owned()),
        sort: Some(Sort::Desc),
        limit: u32::try_from(limit).ok(),
        ..RunsQuery::default()
    };
    let runs = client.runs(&query).await.context("cannot get the environment's runs")?;
    Ok(oldest_first(runs))
}

/// By start; runs without one keep their place at the end, as the newest.
pub fn oldest_first(mut runs: Vec<Run>) -> Vec<Run> {
    // Where starts are equal or missing, the server's order decides, which is the other way round.
    if runs.len() > 1 && runs[0].start_at >= runs[runs.len() - 1].start_at {
        runs.reverse();
    }
    runs.sort_by_key(|run| (run.start_at.is_none(), run.start_at));
    runs
}

/// Those of `runs` (oldest first) that came after the run `since`, which may be among them, or started at `seen_at`.
pub fn those_after(mut runs: Vec<Run>, since: &str, seen_at: Option<Timestamp>) -> Vec<Run> {
    if let Some(at) = runs.iter().position(|run| run.run_id == since) {
        return runs.split_off(at + 1);
    }
    runs.retain(|run| run.start_at.is_none() || run.start_at > seen_at);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, second: i64) -> Run {
        Run { run_id: id.to_owned(), start_at: Timestamp::from_second(second).ok(), ..Run::default() }
    }

    fn ids(runs: &[Run]) -> Vec<&str> {
        runs.iter().map(|run| run.run_id.as_str()).collect()
    }

    #[test]
    fn answers_in_either_order_come_out_oldest_first() {
        assert_eq!(ids(&oldest_first(vec![run("c", 3), run("b", 2), run("a", 1)])), ["a", "b", "c"]);
        assert_eq!(ids(&oldest_first(vec![run("a", 1), run("b", 2)])), ["a", "b"]);
        assert_eq!(ids(&oldest_first(vec![run("b", 1), run("a", 1)])), ["a", "b"]);
    }

    #[test]
    fn since_is_understood_however_the_server_reads_it() {
        let included = vec![run("a", 1), run("b", 2), run("c", 3)];
        assert_eq!(ids(&those_after(included, "b", None)), ["c"]);
        let excluded = vec![run("c", 3), run("d", 4)];
        assert_eq!(ids(&those_after(excluded, "b", run("b", 2).start_at)), ["c", "d"]);
        let ignored = vec![run("a", 1), run("c", 3)];
        assert_eq!(ids(&those_after(ignored, "b", run("b", 2).start_at)), ["c"]);
    }
}
