//! `tobiko-facade sync`: the current state of every model. What Dagster has already, its Python side leaves out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tobiko_client::{Client, Evaluation, EvaluationsQuery, Sort};

use crate::cli::SyncArgs;
use crate::manifest::Manifest;
use crate::polling::outage::Insistence;
use crate::report::Reporter;
use crate::report::events::{CheckResult, Done, DoneAs, Event, Level, Outcome, Task};
use crate::run_state::asset_map::Places;
use crate::run_state::evaluation_state::{Ended, ended, error};
use crate::run_state::node_summary::Merged;
use crate::run_state::task::{materialization, task};
use crate::run_state::verdict::Verdict;

/// How far back an evaluation that ended well is looked for.
const HISTORY: u32 = 100;

/// An outage that lasts longer than this ends a sync; the next one tells the same.
const INSISTENCE: Insistence = Insistence { give_up_after: Duration::from_secs(300), interval: Duration::from_secs(5) };

/// Tells `reporter` the newest state of each node, in the order in which it came about.
pub async fn sync(client: &Client, args: &SyncArgs, reporter: &mut impl Reporter) -> Result<Done> {
    let environment = args.cloud.environment.as_str();
    let dag = INSISTENCE
        .ask(reporter, async || client.dag(environment).await.context("cannot get the environment's DAG"))
        .await?;
    let prefix = args.asset_prefix.as_deref();
    let manifest = Manifest::without_fingerprint(environment, dag.as_ref(), prefix);
    let places = Places::new(&manifest, prefix);
    if dag.is_none() {
        let text = format!("the environment '{environment}' does not exist (yet): there is nothing to tell");
        reporter.tell(&Event::Note(Level::Warning, text))?;
    }

    let mut tasks = Vec::new();
    for (node, latest) in INSISTENCE.ask(reporter, async || latest(client, environment, &args.nodes).await).await? {
        let ask = async || with_history(client, environment, &node, &latest).await;
        let history = INSISTENCE.ask(reporter, ask).await?;
        tasks.push(state(&places, &node, &history.iter().collect::<Vec<_>>()));
    }
    let found: HashSet<&str> = tasks.iter().map(|task| task.node.as_str()).collect();
    let missing: Vec<&String> = args.nodes.iter().filter(|node| !found.contains(node.as_str())).collect();
    for node in missing {
        let never = Verdict { outcome: Outcome::NothingDue, reason: Some("never evaluated".to_owned()), warning: None };
        reporter.tell(&Event::Task(Box::new(task(&places, node, never, Merged::default()))))?;
    }
    tasks.sort_by_key(|task| task.end_at);
    for task in &tasks {
        reporter.tell(&Event::Task(Box::new(task.clone())))?;
    }
    Ok(Done {
        outcome: DoneAs::Success,
        run_id: None,
        reason: None,
        link: manifest.link,
        tasks: tasks.len(),
        requests: client.requests(),
    })
}

/// The newest evaluation of each node.
async fn latest(client: &Client, environment: &str, nodes: &[String]) -> Result<Vec<(String, Evaluation)>> {
    let query = |node: Option<&String>| EvaluationsQuery {
        environment: Some(environment.to_owned()),
        latest: Some(true),
        node_name: node.cloned(),
        ..EvaluationsQuery::default()
    };
    let mut answers = Vec::new();
    if nodes.is_empty() {
        answers = client.evaluations(&query(None)).await.context("cannot get the newest evaluations")?;
    }
    for node in nodes {
        answers
            .extend(client.evaluations(&query(Some(node))).await.context("cannot get the node's newest evaluation")?);
    }
    let mut of_node: HashMap<String, Evaluation> = HashMap::new();
    let mut order = Vec::new();
    for evaluation in answers {
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
async fn with_history(client: &Client, environment: &str, node: &str, latest: &Evaluation) -> Result<Vec<Evaluation>> {
    if ended(latest) == Ended::Well {
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
fn state(places: &Places, node: &str, history: &[&Evaluation]) -> Task {
    let over: Vec<&Evaluation> =
        history.iter().copied().filter(|e| !matches!(ended(e), Ended::Open | Ended::Skipped)).collect();
    let newest_over = over.iter().copied().max_by_key(age);
    let last_well = over.iter().copied().filter(|e| ended(e) == Ended::Well).max_by_key(age);
    let materialization = materialization(places, node, &Merged::of(places, node, last_well.cloned()));
    let verdict = match newest_over {
        Some(evaluation) if ended(evaluation) != Ended::Well => {
            let message = error(evaluation).map(str::to_owned);
            let reason = message.unwrap_or_else(|| format!("ended as '{}'", evaluation.status));
            Verdict { outcome: Outcome::Failure, reason: Some(reason), warning: None }
        }
        Some(_) => Verdict { outcome: Outcome::Success, reason: None, warning: None },
        None => {
            let reason = Some("its first evaluation goes on: left to the mirror".to_owned());
            Verdict { outcome: Outcome::NothingDue, reason, warning: None }
        }
    };
    let mut task = task(places, node, verdict, Merged::of(places, node, newest_over.cloned()));
    task.checks = newest_checks(places, node, &over);
    // Its place in the order is that of what is written.
    task.end_at = materialization.as_ref().and_then(|m| m.at).or(task.end_at);
    task.materialization = materialization;
    task
}

/// One without an end counts by its start.
fn age(evaluation: &&Evaluation) -> Option<Timestamp> {
    evaluation.end_at.or(evaluation.start_at)
}

/// The newest result of each audit.
fn newest_checks(places: &Places, node: &str, evaluations: &[&Evaluation]) -> Vec<CheckResult> {
    let mut by_end = evaluations.to_vec();
    by_end.sort_by_key(|evaluation| std::cmp::Reverse(age(evaluation)));
    let mut seen = HashSet::new();
    let all = by_end.into_iter().flat_map(|evaluation| Merged::of(places, node, [evaluation.clone()]).into_checks());
    all.filter(|check| seen.insert((check.key.clone(), check.name.clone()))).collect()
}
