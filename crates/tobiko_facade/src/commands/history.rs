//! The runs of the past, for a `sync` that is asked for them: how each ended, and each task that was evaluated in it.

use anyhow::{Context, Result};
use jiff::Timestamp;
use tobiko_client::{Client, Run};

use crate::manifest::Manifest;
use crate::polling::outage::OutagePolicy;
use crate::polling::runs::newest;
use crate::report::Reporter;
use crate::report::events::{Event, FinishedAs, Outcome, PastRun, PastTask, Task};
use crate::run_state::verdict::how_it_ended;
use crate::run_state::watcher::Watcher;

/// How many of the newest runs are looked at.
const MOST_RUNS: usize = 500;

/// Reports the runs that ended after `since`, oldest first. One that goes on is left to its mirror.
///
/// # Errors
///
/// The cloud cannot be reached for too long.
pub(super) async fn past_runs(
    client: &Client,
    environment: &str,
    since: Timestamp,
    manifest: &Manifest,
    prefix: Option<&str>,
    outage_policy: &OutagePolicy,
    reporter: &mut impl Reporter,
) -> Result<()> {
    let runs = outage_policy.retry(reporter, async || newest(client, environment, MOST_RUNS).await).await?;
    for run in runs {
        let Some((start_at, end_at)) = run.start_at.zip(run.end_at).filter(|(_, end_at)| *end_at >= since) else {
            continue;
        };
        let mut watcher = Watcher::new(manifest, prefix, &[]);
        let fetch = async || {
            let snapshot = client.run_evaluations(&run.run_id, None, || watcher.snapshot()).await;
            snapshot.context("cannot get the evaluations of a run of the past")
        };
        let snapshot = outage_policy.retry(reporter, fetch).await?.build();
        let changes = watcher.diff(&run, snapshot, true);
        let tasks = changes.into_events(watcher.assets()).filter_map(|event| past_task(event, end_at)).collect();
        reporter.report(&Event::PastRun(Box::new(past_run(run, start_at, end_at, tasks))))?;
    }
    Ok(())
}

fn past_run(run: Run, start_at: Timestamp, end_at: Timestamp, tasks: Vec<PastTask>) -> PastRun {
    let is_good = run.ended_well();
    PastRun {
        outcome: if is_good { FinishedAs::Success } else { FinishedAs::Failure },
        reason: (!is_good).then(|| how_it_ended(&run)),
        run_id: run.run_id,
        link: run.link,
        start_at,
        end_at: end_at.max(start_at),
        tasks,
    }
}

/// `None` for what was not evaluated in the run, or nobody knows when.
fn past_task(event: Event, run_end_at: Timestamp) -> Option<PastTask> {
    let Event::Task(task) = event else { return None };
    let Task { node, outcome, reason, link, log_link, start_at, end_at, evaluation_ids, .. } = *task;
    let is_evaluated = !evaluation_ids.is_empty() && matches!(outcome, Outcome::Success | Outcome::Failure);
    let start_at = start_at.filter(|_| is_evaluated)?;
    // What never ended did so with its run.
    let end_at = end_at.unwrap_or(run_end_at).max(start_at);
    Some(PastTask { node, outcome, reason, link, log_link, start_at, end_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, dag, evaluation, poll, run};

    fn tasks(status: &str, nodes: &[&str], evaluations: &[tobiko_client::Evaluation]) -> Vec<(String, Outcome)> {
        let mut watcher = Watcher::new(&Manifest::new("prod", Some(&dag(nodes)), None), None, &[]);
        let events = poll(&mut watcher, &run(status), evaluations, true);
        let tasks = events.into_iter().filter_map(|event| past_task(event, at(100)));
        tasks.map(|task| (task.node, task.outcome)).collect()
    }

    #[test]
    fn only_what_was_evaluated_is_a_task() {
        let evaluations =
            [evaluation("a", 0, "success"), evaluation("b", 1, "failed:x"), evaluation("new", 2, "success")];
        assert_eq!(
            tasks("failed:1 failed", &["%seed", "a < seed", "b < a", "c < b"], &evaluations),
            [("a", Outcome::Success), ("b", Outcome::Failure), ("new", Outcome::Success)]
                .map(|(n, o)| (n.to_owned(), o))
        );
    }

    #[test]
    fn what_never_ended_did_so_with_its_run() {
        let mut watcher = Watcher::new(&Manifest::new("prod", Some(&dag(&["a"])), None), None, &[]);
        let events = poll(&mut watcher, &run("failed:crashed"), &[evaluation("a", 0, "in_progress")], true);
        let ends: Vec<Timestamp> = events.into_iter().filter_map(|e| past_task(e, at(100))).map(|t| t.end_at).collect();
        assert_eq!(ends, [at(100)]);
    }
}
