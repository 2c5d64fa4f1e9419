//! `tobiko-facade mirror`: follows one remote run to its end. Each poll makes two requests, whatever the number of tasks; `pace`
//! decides when the next poll is due.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tobiko_client::{Client, Run};

use super::environment;
use super::sync::unknown_node;
use crate::cli::MirrorArgs;
use crate::exit_code::NotFound;
use crate::manifest::Manifest;
use crate::manifest::find::find_node;
use crate::polling::outage::OutagePolicy;
use crate::polling::pace::Pace;
use crate::polling::runs::newest;
use crate::report::Reporter;
use crate::report::events::{Event, FinishedAs, Level, RunFinished, RunFound};
use crate::run_state::verdict::how_it_ended;
use crate::run_state::watcher::Watcher;

/// How many of the newest runs are searched for the one that was the newest at some time.
const RUNS_TO_CHOOSE_FROM: usize = 100;

/// Reports what happens in the run that `args` name, and returns how it ended, for the caller to report.
///
/// `job` are the nodes that Dagster's job has. `is_strict`: a node that the cloud does not know is an error, as for a person;
/// Dagster's job may be older than the environment.
pub async fn mirror(
    client: &Client,
    args: &MirrorArgs,
    job: &[String],
    is_strict: bool,
    reporter: &mut impl Reporter,
) -> Result<RunFinished> {
    let interval = Duration::from_secs_f64(args.poll_interval);
    let outage_policy = OutagePolicy { give_up_after: Duration::from_secs_f64(args.give_up_after), interval };
    let given = args.cloud.environment.as_str();

    let found = outage_policy.retry(reporter, async || environment::find(client, given).await).await?;
    let environment = found.name;
    let mut run = outage_policy.retry(reporter, async || choose(client, args, &environment).await).await?;
    let dag = found.dag;
    let mut node = args.node.clone();
    let mut watcher = {
        if dag.is_none() {
            let text = format!("the environment '{environment}' no longer exists: its models are unknown");
            reporter.report(&Event::Log(Level::Warning, text))?;
        }
        let prefix = args.asset_prefix.as_deref();
        let manifest = Manifest::without_fingerprint(&environment, dag.as_ref(), prefix);
        drop(dag);
        if let Some(typed) = &mut node {
            match find_node(&manifest, typed) {
                Ok(known) => *typed = known.name.clone(),
                Err(nearest) if is_strict => return Err(unknown_node(typed, &nearest).into()),
                Err(_) => {}
            }
        }
        Watcher::new(&manifest, prefix, job).with_announcements(client.is_local_cloud())
    };
    if let Some(node) = &node {
        watcher = watcher.only(node);
    }
    reporter.report(&Event::Run(run_found(&run, &environment, watcher.tasks())))?;

    // The run first and then its evaluations: those of a run that has ended are final.
    let mut pace = Pace::new(interval);
    let mut fetched_before = client.fetching();
    loop {
        let fetch = async || {
            let snapshot = client.run_evaluations(&run.run_id, None, || watcher.snapshot()).await;
            snapshot.context("cannot get the run's evaluations")
        };
        let snapshot = outage_policy.retry(reporter, fetch).await?.build();
        let evaluations = snapshot.evaluations;
        let changes = watcher.diff(&run, snapshot, args.node.is_none());
        let events = changes.len();
        for event in changes.into_events(watcher.assets()) {
            reporter.report(&event)?;
        }
        let is_complete = args.node.is_some() && watcher.decided() == watcher.tasks();
        if run.ended() || is_complete {
            break;
        }
        let fetching = client.fetching() - fetched_before;
        let wait = pace.after(events > 0, fetching);
        tracing::debug!(
            "polled run {}: {} evaluations in {:.3} s, {} events; next poll in {:.2} s",
            run.run_id,
            evaluations,
            fetching.as_secs_f64(),
            events,
            wait.as_secs_f64()
        );
        tokio::time::sleep(wait).await;
        fetched_before = client.fetching();
        run = outage_policy.retry(reporter, async || again(client, &run.run_id).await).await?;
    }
    // A mirror of one node reports the truth about that node only.
    let is_good = args.node.is_some() || run.ended_well();
    Ok(RunFinished {
        outcome: if is_good { FinishedAs::Success } else { FinishedAs::Failure },
        reason: (!is_good).then(|| how_it_ended(&run)),
        run_id: Some(run.run_id),
        link: run.link,
        tasks: watcher.decided(),
        requests: client.requests(),
    })
}

async fn again(client: &Client, run_id: &str) -> Result<Run> {
    let run = client.run(run_id).await.context("cannot get the run")?;
    run.ok_or_else(|| NotFound(format!("the cloud no longer knows the run {run_id}")).into())
}

async fn choose(client: &Client, args: &MirrorArgs, environment: &str) -> Result<Run> {
    if let Some(run_id) = &args.run_id {
        let run = client.run(run_id).await.context("cannot get the run")?;
        return run.ok_or_else(|| NotFound(format!("no run '{run_id}' in {environment}")).into());
    }
    let how_many = if args.newest_before.is_some() { RUNS_TO_CHOOSE_FROM } else { 1 };
    let runs = newest(client, environment, how_many).await?;
    let before = args.newest_before.and_then(|at| Timestamp::from_microsecond((at * 1e6) as i64).ok());
    let chosen = newest_before(runs, before).ok_or_else(|| {
        NotFound(format!("the environment '{environment}' has no runs yet: there is nothing to mirror"))
    })?;
    // A list of runs does not say what is due in them.
    if client.is_local_cloud() { again(client, &chosen.run_id).await } else { Ok(chosen) }
}

/// Of `runs`, oldest first, the last that had started by then; where none had, the first.
fn newest_before(runs: Vec<Run>, before: Option<Timestamp>) -> Option<Run> {
    let Some(before) = before else { return runs.into_iter().next_back() };
    let at = runs.iter().rposition(|run| run.start_at.is_some_and(|start| start <= before)).unwrap_or(0);
    runs.into_iter().nth(at)
}

fn run_found(run: &Run, environment: &str, tasks: usize) -> RunFound {
    RunFound {
        run_id: run.run_id.clone(),
        environment: environment.to_owned(),
        status: run.status.to_string(),
        link: run.link.clone(),
        start_at: run.start_at,
        tasks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_at_some_time_stays_the_same() {
        let run = |id: &str, second| Run {
            run_id: id.to_owned(),
            start_at: Timestamp::from_second(second).ok(),
            ..Run::default()
        };
        let chosen = |before| {
            let runs = vec![run("a", 10), run("b", 20), run("c", 30)];
            newest_before(runs, before).map(|run| run.run_id)
        };
        assert_eq!(chosen(None).as_deref(), Some("c"));
        assert_eq!(chosen(Timestamp::from_second(25).ok()).as_deref(), Some("b"));
        assert_eq!(chosen(Timestamp::from_second(5).ok()).as_deref(), Some("a"));
        assert_eq!(newest_before(Vec::new(), None), None);
    }
}
