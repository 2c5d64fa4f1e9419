//! `GET /runs` and `GET /runs/{run_id}`

use axum::Json;
use axum::extract::Query;
use rusqlite::Connection;
use serde::Deserialize;
use tobiko_api::Run;

use super::{ApiError, PathOf, QueryOf, ScopedApi, Sort, checked_limit, responses};
use crate::store::{Activity, ActivityFilter, Kind, queries};

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
pub(super) async fn list(ScopedApi(api): ScopedApi, query: QueryOf<RunsQuery>) -> Result<Json<Vec<Run>>, ApiError> {
    let Query(query) = query?;
    let limit = checked_limit(query.limit)?.unwrap_or(DEFAULT_LIMIT);
    let since = query.since_run_id.clone();
    let project = api.project;
    let found = api.store.read(move |connection| {
        let after = match &query.since_run_id {
            Some(id) => match visible_run(connection, project, id)? {
                Some(run) => Some(run.seq),
                None => return Ok(Found::UnknownSince),
            },
            None => None,
        };
        let filter = ActivityFilter {
            project,
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
            Ok(Json(runs.map(|run| responses::run(run, None, &api.links)).collect()))
        }
    }
}

pub(super) async fn one(ScopedApi(api): ScopedApi, run_id: PathOf) -> Result<Json<Run>, ApiError> {
    let run_id = run_id?.0;
    let unknown = format!("run {run_id:?} does not exist");
    let project = api.project;
    let found = api.store.read(move |connection| match visible_run(connection, project, &run_id)? {
        Some(run) => Ok(Some((queries::due_nodes(connection, run.seq)?, run))),
        None => Ok(None),
    });
    match found.await? {
        Some((due_nodes, run)) => Ok(Json(responses::run(run, due_nodes, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}

fn visible_run(connection: &Connection, project: i64, id: &str) -> rusqlite::Result<Option<Activity>> {
    let run = queries::activity(connection, Kind::Run, id)?;
    Ok(run.filter(|run| run.project == project && !run.is_hidden))
}
