//! `/environments/{environment}/models/{name}?version={v}`: a model or standalone audit, its versions and evaluations.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;

use super::definition::Definition;
use super::rows::{AuditRow, EvaluationRow, ModelNames};
use super::scope::ScopedPages;
use super::{Frame, Link, PageError, Pages, answer};
use crate::store::{EvaluationFilter, NodeVersion, queries};

const NEWEST_EVALUATIONS: u32 = 50;

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    model: String,
    name: String,
    definition: Option<Definition>,
    /// The version that the evaluations are of; empty: all.
    version: String,
    all_versions_url: String,
    versions: Vec<VersionRow>,
    evaluations: Vec<EvaluationRow>,
    /// Of the newest evaluation that has any.
    audits: Vec<AuditRow>,
    with_model: bool,
    with_origin: bool,
    with_bar: bool,
}

struct VersionRow {
    version: String,
    url: String,
    since: String,
    current: bool,
    chosen: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Version {
    version: Option<String>,
}

pub(super) async fn show(
    ScopedPages(pages): ScopedPages,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<Version>, QueryRejection>,
) -> Response {
    let version = query.ok().and_then(|Query(query)| query.version);
    let page = match path {
        Ok(Path((environment, name))) => page(&pages, environment, name, version).await,
        Err(_) => Err(PageError::NotFound("This is not the address of a model.".to_owned())),
    };
    answer(&pages, page)
}

async fn page(
    pages: &Pages,
    environment: String,
    name: String,
    version: Option<String>,
) -> Result<ModelPage, PageError> {
    let links = &pages.links;
    let project = pages.project;
    let filter = EvaluationFilter {
        project,
        environment: Some(environment.clone()),
        node_name: Some(name.clone()),
        version: version.clone(),
        newest_first: true,
        limit: Some(NEWEST_EVALUATIONS),
        ..EvaluationFilter::default()
    };
    let (in_environment, of_name) = (environment.clone(), name.clone());
    let (dag, versions, evaluations) = pages
        .store
        .read(move |connection| {
            let dag = queries::dag(connection, project, &in_environment)?;
            let versions = queries::node_versions(connection, project, &in_environment, &of_name)?;
            Ok((dag, versions, queries::evaluations(connection, &filter)?))
        })
        .await?;
    if versions.is_empty() && evaluations.is_empty() {
        let message = format!("No model {name} has been recorded in environment {environment:?}.");
        return Err(PageError::NotFound(message));
    }
    let now = dag.iter().flat_map(|dag| &dag.nodes).find(|node| node.name == name);
    let shown_version = version.as_ref();
    let shown_version = versions.iter().find(|one| Some(&one.node.version) == shown_version);
    let node = shown_version.or(versions.first()).map(|one| &one.node);
    let model = node.map_or_else(|| name.replace('"', ""), |node| node.model_name.clone());
    let names = ModelNames::from([(name.clone(), model.clone())]);
    let with_audits = evaluations.iter().find(|evaluation| !evaluation.audits.is_empty());
    let row = |one: &NodeVersion| {
        let version = one.node.version.clone();
        VersionRow {
            url: links.model(&environment, &name, Some(&version)),
            since: one.since.for_people(),
            current: now.is_some_and(|node| node.version == version),
            chosen: shown_version.is_some_and(|shown| shown.node.version == version),
            version,
        }
    };
    let crumbs = vec![Link::new(&environment, links.environment(&environment))];
    Ok(ModelPage {
        frame: Frame::new(pages, &model, crumbs),
        definition: node.zip(dag.as_ref()).map(|(node, dag)| Definition::new(node, dag, links)),
        versions: versions.iter().map(row).collect(),
        evaluations: evaluations.iter().map(|evaluation| EvaluationRow::new(evaluation, &names, None, links)).collect(),
        audits: with_audits.map_or_else(Vec::new, |one| AuditRow::all_of(one, &names, links)),
        all_versions_url: links.model(&environment, &name, None),
        model,
        version: version.unwrap_or_default(),
        name,
        with_model: false,
        with_origin: true,
        with_bar: false,
    })
}
