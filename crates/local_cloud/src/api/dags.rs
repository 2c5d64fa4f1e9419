//! `GET /dags/{environment}`

use axum::Json;
use axum::extract::State;

use super::answers::DagAnswer;
use super::{Api, ApiError, PathOf};
use crate::store::ask;

pub(super) async fn one(State(api): State<Api>, environment: PathOf) -> Result<Json<DagAnswer>, ApiError> {
    let environment = environment?.0;
    let unknown = format!("environment {environment:?} does not exist: no plan has finalized it");
    let dag = api.store.read(move |connection| ask::dag(connection, &environment));
    match dag.await? {
        Some(dag) => Ok(Json(DagAnswer::new(dag, &api.links))),
        None => Err(ApiError::not_found(unknown)),
    }
}
