//! `GET /runs/{run_id}/evaluations`, `GET /evaluations` and `GET /evaluations/{evaluation_id}`

use axum::Json;
use axum::extract::Query;
use serde::Deserialize;
use tobiko_api::Evaluation;

use super::{Api, ApiError, PathOf, QueryOf, ScopedApi, Sort, checked_limit, responses};
use crate::store::{EvaluationFilter, queries};

const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct OfRunQuery {
    node_name: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EvaluationsQuery {
    run_id: Option<String>,
    plan_id: Option<String>,
    environment: Option<String>,
    #[serde(default)]
    latest: bool,
    node_name: Option<String>,
    sort: Option<Sort>,
    limit: Option<u32>,
}

/// All of them, unless the query has a limit.
pub(super) async fn of_run(
    ScopedApi(api): ScopedApi,
    run_id: PathOf,
    query: QueryOf<OfRunQuery>,
) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let Query(query) = query?;
    let filter = EvaluationFilter {
        project: api.project,
        run_id: Some(run_id?.0),
        node_name: query.node_name,
        limit: checked_limit(query.limit)?,
        ..EvaluationFilter::default()
    };
    respond(&api, filter).await
}

pub(super) async fn list(
    ScopedApi(api): ScopedApi,
    query: QueryOf<EvaluationsQuery>,
) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let Query(query) = query?;
    let filter = EvaluationFilter {
        project: api.project,
        run_id: query.run_id,
        plan_id: query.plan_id,
        environment: query.environment,
        node_name: query.node_name,
        version: None,
        latest: query.latest,
        newest_first: query.sort == Some(Sort::Desc),
        limit: checked_limit(query.limit)?.or(Some(DEFAULT_LIMIT)),
    };
    respond(&api, filter).await
}

pub(super) async fn one(ScopedApi(api): ScopedApi, evaluation_id: PathOf) -> Result<Json<Evaluation>, ApiError> {
    let evaluation_id = evaluation_id?.0;
    let unknown = format!("evaluation {evaluation_id:?} does not exist");
    let evaluation = api.store.read(move |connection| queries::evaluation(connection, &evaluation_id));
    let evaluation = evaluation.await?.filter(|evaluation| evaluation.project == api.project);
    match evaluation {
        Some(evaluation) => Ok(Json(responses::evaluation(evaluation, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}

/// No evaluations: 404.
async fn respond(api: &Api, filter: EvaluationFilter) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let evaluations = api.store.read(move |connection| queries::evaluations(connection, &filter)).await?;
    if evaluations.is_empty() {
        return Err(ApiError::not_found("no evaluations"));
    }
    let evaluations = evaluations.into_iter();
    let responses = evaluations.map(|evaluation| responses::evaluation(evaluation, &api.links));
    Ok(Json(responses.collect()))
}
