//! `tobiko-facade sync`: the latest state of every model. What Dagster has already, its Python side leaves out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tobiko_client::{Client, Evaluation, EvaluationsQuery, Sort};

use super::environment::{self, did_you_mean};
use super::history::past_runs;
use super::plan_failure::plan_failure;
use crate::cli::SyncArgs;
use crate::exit_code::NotFound;
use crate::manifest::Manifest;
use crate::manifest::find::find_node;
use crate::polling::outage::OutagePolicy;
use crate::report::Reporter;
use crate::report::events::{CheckResult, Event, FinishedAs, Level, Materialization, Outcome, RunFinished, Task};
use crate::run_state::asset_map::AssetMap;
use crate::run_state::evaluation_state::{EvaluationState, error};
use crate::run_state::node_summary::NodeSummary;
use crate::run_state::task::{materialization, task};
use crate::run_state::verdict::Verdict;

/// How far back an evaluation that ended well is searched.
const HISTORY: u32 = 100;

/// An outage that lasts longer than this ends a sync; the next one reports the same.
const OUTAGE_POLICY: OutagePolicy =
    OutagePolicy { give_up_after: Duration::from_secs(300), interval: Duration::from_secs(5) };

/// Reports the latest state of each node, in the order in which it came about.
///
/// `is_strict`: names that the cloud does not know are an error, as for a person; Dagster's job may be older than the environment.
///
/// # Errors
///
/// The cloud cannot be reached for too long, or something was given that it does not know.
pub async fn sync(
    client: &Client,
    args: &SyncArgs,
    is_strict: bool,
    reporter: &mut impl Reporter,
) -> Result<RunFinished> {
    let given = args.cloud.environment.as_str();
    let found = OUTAGE_POLICY.retry(reporter, async || environment::find(client, given).await).await?;
    if found.dag.is_none() && is_strict {
        return Err(environment::unknown(client, given).await.into());
    }
    let (environment, dag) = (found.name.as_str(), found.dag);
    let prefix = args.asset_prefix.as_deref();
    let manifest = Manifest::without_fingerprint(environment, dag.as_ref(), prefix);
    let assets = AssetMap::new(&manifest, prefix);
    if dag.is_none() {
        let text = format!("the environment '{environment}' does not exist (yet): there is nothing to report");
        reporter.report(&Event::Log(Level::Warning, text))?;
    }

    let nodes = nodes(&manifest, &args.nodes, is_strict)?;
    let mut tasks = Vec::new();
    for (node, latest) in OUTAGE_POLICY.retry(reporter, async || latest(client, environment, &nodes).await).await? {
        let fetch = async || with_history(client, environment, &assets, &node, &latest).await;
        let history = OUTAGE_POLICY.retry(reporter, fetch).await?;
        tasks.push(state(&assets, &node, &history.iter().collect::<Vec<_>>()));
    }
    let evaluated: HashSet<&str> = tasks.iter().map(|task| task.node.as_str()).collect();
    let missing: Vec<&String> = nodes.iter().filter(|node| !evaluated.contains(node.as_str())).collect();
    for node in missing {
        let never = Verdict { outcome: Outcome::NothingDue, reason: Some("never evaluated".to_owned()), warning: None };
        reporter.report(&Event::Task(Box::new(task(&assets, node, never, NodeSummary::default()))))?;
    }
    tasks.sort_by_key(|task| task.end_at);
    for task in &tasks {
        reporter.report(&Event::Task(Box::new(task.clone())))?;
    }
    if let Some(age) = args.history {
        past_runs(client, environment, Timestamp::now() - age, &manifest, prefix, &OUTAGE_POLICY, reporter).await?;
    }
    let failure = match &args.plan {
        Some(plan) => OUTAGE_POLICY.retry(reporter, async || plan_failure(client, plan).await).await?,
        None => None,
    };
    let (outcome, reason, link) = match failure {
        Some(failure) => (FinishedAs::Failure, Some(failure.message), failure.link.or(manifest.link)),
        None => (FinishedAs::Success, None, manifest.link),
    };
    Ok(RunFinished { outcome, run_id: None, reason, link, tasks: tasks.len(), requests: client.requests() })
}

/// The cloud's names of the nodes that were given.
fn nodes(manifest: &Manifest, given: &[String], is_strict: bool) -> Result<Vec<String>> {
    let name = |typed: &String| match find_node(manifest, typed) {
        Ok(node) => Ok(node.name.clone()),
        Err(nearest) if is_strict => Err(unknown_node(typed, &nearest).into()),
        Err(_) => Ok(typed.clone()),
    };
    given.iter().map(name).collect()
}

/// The error about a node that is not in the environment.
pub fn unknown_node(typed: &str, nearest: &[&str]) -> NotFound {
    NotFound(format!("there is no model or standalone audit '{typed}'{}", did_you_mean(nearest)))
}

/// The newest evaluation of each node.
async fn latest(client: &Client, environment: &str, nodes: &[String]) -> Result<Vec<(String, Evaluation)>> {
    let query = |node: Option<&String>| EvaluationsQuery {
        environment: Some(environment.to_owned()),
        latest: Some(true),
        node_name: node.cloned(),
        ..EvaluationsQuery::default()
    };
    let mut evaluations = Vec::new();
    if nodes.is_empty() {
        evaluations = client.evaluations(&query(None)).await.context("cannot get the newest evaluations")?;
    }
    for node in nodes {
        evaluations
            .extend(client.evaluations(&query(Some(node))).await.context("cannot get the node's newest evaluation")?);
    }
    let mut of_node: HashMap<String, Evaluation> = HashMap::new();
    let mut order = Vec::new();
    for evaluation in evaluations {
        match of_node.get(&evaluation.node_name) {
            Some(other) if other.start_at >= evaluation.start_at => {}
            Some(_) => {
                of_node.insert(evaluation.node_name.clone(), evaluation);
            }
            None => {
                order.push(evaluation.node_name.clone());
                of_node.insert(evaluation.node_name.clone(), evaluation);
            }
        }
    }
    Ok(order.into_iter().filter_map(|node| of_node.remove_entry(&node)).collect())
}

/// The node's evaluations as far back as they are needed, oldest first: where the newest ended well, that one alone.
async fn with_history(
    client: &Client,
    environment: &str,
    assets: &AssetMap,
    node: &str,
    latest: &Evaluation,
) -> Result<Vec<Evaluation>> {
    let shows_all = !latest.only_audits || assets.is_only_audited(node);
    if EvaluationState::of(latest) == EvaluationState::Succeeded && shows_all {
        return Ok(vec![latest.clone()]);
    }
    let query = EvaluationsQuery {
        environment: Some(environment.to_owned()),
        node_name: Some(node.to_owned()),
        sort: Some(Sort::Desc),
        limit: Some(HISTORY),
        ..EvaluationsQuery::default()
    };
    let mut history = client.evaluations(&query).await.context("cannot get the node's evaluations")?;
    history.retain(|evaluation| evaluation.node_name == node);
    if !history.iter().any(|evaluation| evaluation.evaluation_id == latest.evaluation_id) {
        history.push(latest.clone());
    }
    history.sort_by_key(|evaluation| evaluation.start_at);
    Ok(history)
}

/// The node's state: the materialization of the newest that ended well, the newest result of each audit.
fn state(assets: &AssetMap, node: &str, history: &[&Evaluation]) -> Task {
    let ended: Vec<&Evaluation> = history
        .iter()
        .copied()
        .filter(|e| !matches!(EvaluationState::of(e), EvaluationState::Open | EvaluationState::Skipped))
        .collect();
    let newest_ended = ended.iter().copied().max_by_key(age);
    let is_load = |e: &&Evaluation| EvaluationState::of(e) == EvaluationState::Succeeded && !e.only_audits;
    let last_success = ended.iter().copied().filter(is_load).max_by_key(age);
    let mut materialization = materialization(assets, node, &NodeSummary::of(assets, node, last_success.cloned()));
    if let Some(materialization) = &mut materialization {
        // It may be one of several.
        materialization.batches = None;
    }
    let verdict = match newest_ended {
        Some(evaluation) if EvaluationState::of(evaluation) != EvaluationState::Succeeded => {
            let message = error(evaluation).map(str::to_owned);
            let reason = message.unwrap_or_else(|| format!("ended as '{}'", evaluation.status));
            Verdict { outcome: Outcome::Failure, reason: Some(reason), warning: None }
        }
        Some(_) => Verdict { outcome: Outcome::Success, reason: None, warning: None },
        None => {
            let reason = Some("its first evaluation is still running: left to the mirror".to_owned());
            Verdict { outcome: Outcome::NothingDue, reason, warning: None }
        }
    };
    let mut task = task(assets, node, verdict, NodeSummary::of(assets, node, newest_ended.cloned()));
    task.checks = newest_checks(assets, node, &ended);
    // It is ordered by what is written.
    task.end_at = materialization.as_ref().and_then(Materialization::at).or(task.end_at);
    task.materialization = materialization;
    task
}

/// One without an end counts by its start.
fn age(evaluation: &&Evaluation) -> Option<Timestamp> {
    evaluation.end_at.or(evaluation.start_at)
}

/// The newest result of each audit.
fn newest_checks(assets: &AssetMap, node: &str, evaluations: &[&Evaluation]) -> Vec<CheckResult> {
    let mut by_end = evaluations.to_vec();
    by_end.sort_by_key(|evaluation| std::cmp::Reverse(age(evaluation)));
    let mut seen = HashSet::new();
    let all =
        by_end.into_iter().flat_map(|evaluation| NodeSummary::of(assets, node, [evaluation.clone()]).into_checks());
    all.filter(|check| seen.insert((check.key.clone(), check.name.clone()))).collect()
}
