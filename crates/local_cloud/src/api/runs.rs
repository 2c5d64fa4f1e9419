//! `GET /runs` and `GET /runs/{run_id}`

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use tobiko_api::Run;

use super::{Api, ApiError, PathOf, QueryOf, Sort, checked_limit, responses};
use crate::store::{ActivityFilter, Kind, queries};

const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct RunsQuery {
    environment: Option<String>,
    #[serde(default)]
    last: bool,
    since_run_id: Option<String>,
    sort: Option<Sort>,
    limit: Option<u32>,
}

/// What a list has found.
enum Found<T> {
    Rows(Vec<T>),
    UnknownSince,
}

/// No runs at all: 404. Nothing new since a known run: an empty list, which a client can distinguish from an unknown run: 404.
pub(super) async fn list(State(api): State<Api>, query: QueryOf<RunsQuery>) -> Result<Json<Vec<Run>>, ApiError> {
    let Query(query) = query?;
    let limit = checked_limit(query.limit)?.unwrap_or(DEFAULT_LIMIT);
    let since = query.since_run_id.clone();
    let found = api.store.read(move |connection| {
        let after = match &query.since_run_id {
            Some(id) => match queries::activity(connection, Kind::Run, id)? {
                Some(run) => Some(run.seq),
                None => return Ok(Found::UnknownSince),
            },
            None => None,
        };
        let filter = ActivityFilter {
            kind: Kind::Run,
            environment: query.environment,
            after,
            newest_first: query.last || query.sort != Some(Sort::Asc),
            limit: if query.last { 1 } else { limit },
        };
        queries::activities(connection, &filter).map(Found::Rows)
    });
    match (found.await?, since) {
        (Found::UnknownSince, since) => {
            let since = since.unwrap_or_default();
            Err(ApiError::not_found(format!("run {since:?} does not exist")))
        }
        (Found::Rows(runs), None) if runs.is_empty() => Err(ApiError::not_found("no runs")),
        (Found::Rows(runs), _) => {
            let runs = runs.into_iter();
            Ok(Json(runs.map(|run| responses::run(run, &api.links)).collect()))
        }
    }
}

pub(super) async fn one(State(api): State<Api>, run_id: PathOf) -> Result<Json<Run>, ApiError> {
    let run_id = run_id?.0;
    let unknown = format!("run {run_id:?} does not exist");
    let run = api.store.read(move |connection| queries::activity(connection, Kind::Run, &run_id));
    match run.await? {
        Some(run) => Ok(Json(responses::run(run, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}
