//! `DELETE /environments/{environment}`, which Tobiko Cloud does not have.

use axum::http::StatusCode;

use super::{ApiError, PathOf, ScopedApi};
use crate::store::queries;

/// Forgets an environment until a plan finalizes it again.
pub(super) async fn forget(ScopedApi(api): ScopedApi, environment: PathOf) -> Result<StatusCode, ApiError> {
    let environment = environment?.0;
    let unknown = format!("environment {environment:?} does not exist");
    let project = api.project;
    let forgotten = api.store.write(move |connection| queries::forget_environment(connection, project, &environment));
    if forgotten.await? { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found(unknown)) }
}
