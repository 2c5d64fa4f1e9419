//! `GET /dags/{environment}`

use axum::Json;
use tobiko_api::Dag;

use super::{ApiError, PathOf, ScopedApi, responses};
use crate::store::queries;

pub(super) async fn one(ScopedApi(api): ScopedApi, environment: PathOf) -> Result<Json<Dag>, ApiError> {
    let environment = environment?.0;
    let unknown = format!("environment {environment:?} does not exist: no plan has finalized it");
    let project = api.project;
    let dag = api.store.read(move |connection| queries::dag(connection, project, &environment));
    match dag.await? {
        Some(dag) => Ok(Json(responses::dag(dag, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}
