//! `GET /plans` and `GET /plans/{plan_id}`, which Tobiko Cloud does not have.

use axum::Json;
use axum::extract::Query;
use serde::Deserialize;
use tobiko_api::Plan;

use super::{ApiError, PathOf, QueryOf, ScopedApi, Sort, checked_limit, responses};
use crate::store::{PlanFilter, queries};

const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct PlansQuery {
    environment: Option<String>,
    since_seq: Option<i64>,
    sort: Option<Sort>,
    limit: Option<u32>,
}

/// The plans that have ended, in the order in which they did. None: an empty list.
pub(super) async fn list(ScopedApi(api): ScopedApi, query: QueryOf<PlansQuery>) -> Result<Json<Vec<Plan>>, ApiError> {
    let Query(query) = query?;
    let filter = PlanFilter {
        project: api.project,
        environment: query.environment,
        since_seq: query.since_seq.unwrap_or_default(),
        newest_first: query.sort == Some(Sort::Desc),
        limit: checked_limit(query.limit)?.unwrap_or(DEFAULT_LIMIT),
    };
    let plans = api.store.read(move |connection| queries::ended_plans(connection, &filter)).await?;
    Ok(Json(plans.into_iter().map(|plan| responses::plan(plan, &api.links)).collect()))
}

/// Open ones, too.
pub(super) async fn one(ScopedApi(api): ScopedApi, plan_id: PathOf) -> Result<Json<Plan>, ApiError> {
    let plan_id = plan_id?.0;
    let unknown = format!("plan {plan_id:?} does not exist");
    let project = api.project;
    let plan = api.store.read(move |connection| queries::plan(connection, project, &plan_id));
    match plan.await? {
        Some(plan) => Ok(Json(responses::plan(plan, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}
