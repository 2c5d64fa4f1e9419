//! `GET /runs/{run_id}/evaluations`, `GET /evaluations` and `GET /evaluations/{evaluation_id}`

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use tobiko_api::Evaluation;

use super::{Api, ApiError, PathOf, QueryOf, Sort, checked_limit, responses};
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
    State(api): State<Api>,
    run_id: PathOf,
    query: QueryOf<OfRunQuery>,
) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let Query(query) = query?;
    let filter = EvaluationFilter {
        run_id: Some(run_id?.0),
        node_name: query.node_name,
        limit: checked_limit(query.limit)?,
        ..EvaluationFilter::default()
    };
    answer(&api, filter).await
}

pub(super) async fn list(
    State(api): State<Api>,
    query: QueryOf<EvaluationsQuery>,
) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let Query(query) = query?;
    let filter = EvaluationFilter {
        run_id: query.run_id,
        plan_id: query.plan_id,
        environment: query.environment,
        node_name: query.node_name,
        version: None,
        latest: query.latest,
        newest_first: query.sort == Some(Sort::Desc),
        limit: checked_limit(query.limit)?.or(Some(DEFAULT_LIMIT)),
    };
    answer(&api, filter).await
}

pub(super) async fn one(State(api): State<Api>, evaluation_id: PathOf) -> Result<Json<Evaluation>, ApiError> {
    let evaluation_id = evaluation_id?.0;
    let unknown = format!("evaluation {evaluation_id:?} does not exist");
    let evaluation = api.store.read(move |connection| queries::evaluation(connection, &evaluation_id));
    match evaluation.await? {
        Some(evaluation) => Ok(Json(responses::evaluation(evaluation, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}

/// No evaluations: 404.
async fn answer(api: &Api, filter: EvaluationFilter) -> Result<Json<Vec<Evaluation>>, ApiError> {
    let evaluations = api.store.read(move |connection| queries::evaluations(connection, &filter)).await?;
    if evaluations.is_empty() {
        return Err(ApiError::not_found("no evaluations"));
    }
    let evaluations = evaluations.into_iter();
    let responses = evaluations.map(|evaluation| responses::evaluation(evaluation, &api.links));
    Ok(Json(responses.collect()))
}
