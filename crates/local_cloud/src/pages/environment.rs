//! `/environments/{environment}`: what it holds now, and what was done in it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;

use super::rows::{ActivityRow, EvaluationRow, model_names, time};
use super::scope::ScopedPages;
use super::{Frame, Link, PageError, Pages, answer};
use crate::links::Links;
use crate::store::{ActivityFilter, Dag, Evaluation, EvaluationFilter, Kind, Node, NodeType, queries};

const NEWEST_RUNS: u32 = 15;
const NEWEST_PLANS: u32 = 5;

#[derive(Template)]
#[template(path = "environment.html")]
struct EnvironmentPage {
    frame: Frame,
    environment: String,
    /// None before a plan has finalized it.
    schedule: Option<Schedule>,
    models: usize,
    standalone_audits: usize,
    nodes: Vec<NodeRow>,
    runs: Vec<ActivityRow>,
    plans: Vec<ActivityRow>,
    with_environment: bool,
}

struct Schedule {
    cron: String,
    every: String,
    start: String,
    since: String,
    plan: Option<Link>,
}

struct NodeRow {
    link: Link,
    name: String,
    source_type: &'static str,
    first_line: String,
    tags: Vec<String>,
    newest: Option<EvaluationRow>,
}

pub(super) async fn show(
    ScopedPages(pages): ScopedPages,
    environment: Result<Path<String>, PathRejection>,
) -> Response {
    answer(&pages, page(&pages, environment).await)
}

async fn page(pages: &Pages, environment: Result<Path<String>, PathRejection>) -> Result<EnvironmentPage, PageError> {
    let Ok(Path(environment)) = environment else {
        return Err(PageError::NotFound("This is not the address of an environment.".to_owned()));
    };
    let links = pages.links.clone();
    let requested = environment.clone();
    let project = pages.project;
    let facts = pages
        .store
        .read(move |connection| {
            if !queries::environment_exists(connection, project, &requested)? {
                return Ok(None);
            }
            let newest = |kind, limit| {
                let filter = ActivityFilter {
                    project,
                    kind,
                    environment: Some(requested.clone()),
                    after: None,
                    newest_first: true,
                    limit,
                };
                queries::activities(connection, &filter)?
                    .iter()
                    .map(|one| {
                        let evaluations = queries::count_evaluations(connection, one.seq)?;
                        Ok(ActivityRow::new(one, evaluations, &links))
                    })
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            let runs = newest(Kind::Run, NEWEST_RUNS)?;
            let plans = newest(Kind::Plan, NEWEST_PLANS)?;
            let dag = queries::dag(connection, project, &requested)?;
            let filter = EvaluationFilter {
                project,
                environment: Some(requested.clone()),
                latest: true,
                ..EvaluationFilter::default()
            };
            let latest = queries::evaluations(connection, &filter)?;
            Ok(Some((dag, latest, runs, plans)))
        })
        .await?;
    let Some((dag, latest, runs, plans)) = facts else {
        let message = format!("Nothing has been recorded in an environment named {environment:?}.");
        return Err(PageError::NotFound(message));
    };
    let links = &pages.links;
    let nodes = dag.as_ref().map_or_else(Vec::new, |dag| node_rows(dag, &latest, links));
    let all = dag.iter().flat_map(|dag| &dag.nodes);
    let standalone_audits = all.filter(|node| node.node_type == NodeType::Audit).count();
    let mut frame = Frame::new(pages, environment.clone(), Vec::new());
    frame.refresh = runs.iter().any(|run| run.badge.class == "running");
    Ok(EnvironmentPage {
        frame,
        schedule: dag.as_ref().map(|dag| schedule(dag, &plans)),
        models: nodes.len() - standalone_audits,
        standalone_audits,
        nodes,
        runs,
        plans,
        environment,
        with_environment: false,
    })
}

fn schedule(dag: &Dag, plans: &[ActivityRow]) -> Schedule {
    // A plan that was made elsewhere, or before the recorder was there, has no page.
    let plan = plans.iter().find(|plan| Some(&plan.id) == dag.plan_id.as_ref());
    Schedule {
        cron: dag.schedule_cron.clone(),
        every: match dag.schedule_seconds {
            seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
            seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
            seconds => format!("{seconds} s"),
        },
        start: time(Some(dag.start_at)),
        since: time(Some(dag.at)),
        plan: plan.map(|plan| Link::new(&plan.id, plan.url.clone())),
    }
}

fn node_rows(dag: &Dag, latest: &[Evaluation], links: &Links) -> Vec<NodeRow> {
    let names = model_names(Some(dag));
    let mut newest: HashMap<&str, EvaluationRow> = latest
        .iter()
        .map(|evaluation| {
            let row = EvaluationRow::new(evaluation, &names, None, links);
            (evaluation.node_name.as_str(), row)
        })
        .collect();
    let row = |node: &Node| {
        let url = links.model(&dag.environment, &node.name, Some(&node.version));
        let description = node.description.as_deref().unwrap_or_default();
        NodeRow {
            link: Link::new(&node.model_name, url),
            name: node.name.clone(),
            source_type: node.source_type.as_str(),
            first_line: crate::text::first_line(description, 120),
            tags: node.tags.clone(),
            newest: newest.remove(node.name.as_str()),
        }
    };
    dag.nodes.iter().map(row).collect()
}
