//! `tobiko-facade poll`: the remote runs that are new since a given one. One small request when there are none.

use anyhow::{Context, Result};
use serde::Serialize;
use tobiko_client::{Client, Run, RunsQuery, Sort};

use super::environment;
use crate::manifest::Manifest;
use crate::polling::runs::{newest, oldest_first, those_after};
use crate::report::events::epoch;

/// How many runs are reported at most; the rest is counted.
const MOST: usize = 25;

/// What `tobiko-facade poll` prints.
#[derive(Debug, Serialize)]
pub struct NewRuns {
    version: u32,
    environment: String,
    exists: bool,
    /// Oldest first.
    runs: Vec<NewRun>,
    /// How many older ones there are besides.
    missed: usize,
    /// Whether the cloud knows the given run; if not, `runs` is the newest one only.
    since_known: bool,
    /// The manifest's, when there are runs: the sensor reloads the code location when it changed.
    fingerprint: Option<String>,
}

#[derive(Debug, Serialize)]
struct NewRun {
    run_id: String,
    status: String,
    ended: bool,
    ended_well: bool,
    start_at: Option<f64>,
    end_at: Option<f64>,
    link: Option<String>,
}

/// The runs of `environment` after the run `since`; without it the newest ones.
pub async fn poll(client: &Client, environment: &str, since: Option<&str>) -> Result<NewRuns> {
    let found = match since {
        None => Found { runs: newest(client, environment, MOST + 1).await?, since_known: true },
        Some(since) => after(client, environment, since).await?,
    };
    let mut runs = found.runs;
    let missed = runs.len().saturating_sub(MOST);
    runs.drain(..missed);
    let (exists, fingerprint) = if runs.is_empty() {
        (true, None)
    } else {
        let dag = client.dag(environment).await.context("cannot get the environment's DAG")?;
        let manifest = Manifest::new(environment, dag.as_ref(), None);
        (manifest.exists, Some(manifest.fingerprint))
    };
    Ok(NewRuns {
        version: 1,
        environment: environment.to_owned(),
        exists,
        runs: runs.iter().map(new_run).collect(),
        missed,
        since_known: found.since_known,
        fingerprint,
    })
}

/// The same for a person or a script that may have mistyped the environment.
///
/// # Errors
///
/// The cloud does not know the environment.
pub async fn poll_known(client: &Client, given: &str, since: Option<&str>) -> Result<NewRuns> {
    let found = poll(client, given, since).await?;
    if !found.runs.is_empty() {
        return Ok(found);
    }
    let environment = environment::find(client, given).await?;
    if environment.dag.is_none() {
        return Err(environment::unknown(client, given).await.into());
    }
    if environment.name == given { Ok(found) } else { poll(client, &environment.name, since).await }
}

struct Found {
    runs: Vec<Run>,
    since_known: bool,
}

async fn after(client: &Client, environment: &str, since: &str) -> Result<Found> {
    let last = RunsQuery { environment: Some(environment.to_owned()), last: Some(true), ..RunsQuery::default() };
    let last = oldest_first(client.runs(&last).await.context("cannot get the environment's last run")?);
    match last.last() {
        None => return Ok(Found { runs: Vec::new(), since_known: true }),
        Some(run) if run.run_id == since => return Ok(Found { runs: Vec::new(), since_known: true }),
        Some(_) => {}
    }
    // Whether `since_run_id` holds that run itself, or is honored at all, is not documented: all three are handled.
    let query = RunsQuery {
        environment: Some(environment.to_owned()),
        since_run_id: Some(since.to_owned()),
        sort: Some(Sort::Desc),
        ..RunsQuery::default()
    };
    let answer = oldest_first(client.runs(&query).await.context("cannot get the runs since the last one")?);
    if answer.iter().any(|run| run.run_id == since) {
        return Ok(Found { runs: those_after(answer, since, None), since_known: true });
    }
    match client.run(since).await.context("cannot get the last run that was seen")? {
        Some(seen) => {
            let answer = if answer.is_empty() { newest(client, environment, MOST + 1).await? } else { answer };
            Ok(Found { runs: those_after(answer, since, seen.start_at), since_known: true })
        }
        None => Ok(Found { runs: last.into_iter().next_back().into_iter().collect(), since_known: false }),
    }
}

fn new_run(run: &Run) -> NewRun {
    NewRun {
        run_id: run.run_id.clone(),
        status: run.status.to_string(),
        ended: run.ended(),
        ended_well: run.ended_well(),
        start_at: run.start_at.map(epoch),
        end_at: run.end_at.map(epoch),
        link: run.link.clone(),
    }
}
