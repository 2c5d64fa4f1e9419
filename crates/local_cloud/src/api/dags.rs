//! `GET /dags/{environment}`

use axum::Json;
use axum::extract::State;
use tobiko_api::Dag;

use super::{Api, ApiError, PathOf, responses};
use crate::store::queries;

pub(super) async fn one(State(api): State<Api>, environment: PathOf) -> Result<Json<Dag>, ApiError> {
    let environment = environment?.0;
    let unknown = format!("environment {environment:?} does not exist: no plan has finalized it");
    let dag = api.store.read(move |connection| queries::dag(connection, &environment));
    match dag.await? {
        Some(dag) => Ok(Json(responses::dag(dag, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}
