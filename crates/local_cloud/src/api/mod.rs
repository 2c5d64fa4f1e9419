//! The endpoints that programs call. Every response is JSON; an error is `{"detail": "..."}`.

mod dags;
mod evaluations;
mod recorder;
pub(crate) mod responses;
mod runs;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::links::Links;
use crate::store::{Store, StoreError};

/// Largest batch of events.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// What the endpoints need.
#[derive(Clone)]
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub links: Links,
}

/// The routes that need a bearer token.
pub(crate) fn routes(api: Api) -> Router {
    Router::new()
        // A rest of the path, not a segment: clients send the slash in `release/1.2` as it is.
        .route("/api/v1/dags/{*environment}", get(dags::one))
        .route("/api/v1/runs", get(runs::list))
        .route("/api/v1/runs/{run_id}", get(runs::one))
        .route("/api/v1/runs/{run_id}/evaluations", get(evaluations::of_run))
        .route("/api/v1/evaluations", get(evaluations::list))
        .route("/api/v1/evaluations/{evaluation_id}", get(evaluations::one))
        .route("/recorder/v1/events", post(recorder::ingest_events))
        .layer(DefaultBodyLimit::max(MAX_BATCH_BYTES))
        .with_state(api)
}

/// A response other than 200.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: String,
}

impl ApiError {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, detail }
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"detail": self.detail}))).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!("failed to {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to {error}"))
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

/// A query whose rejection becomes JSON, too.
type QueryOf<T> = Result<Query<T>, QueryRejection>;

/// The one parameter of a path.
type PathOf = Result<Path<String>, PathRejection>;

/// Order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    Asc,
    Desc,
}

/// Rejects a limit of 0.
fn checked_limit(limit: Option<u32>) -> Result<Option<u32>, ApiError> {
    match limit {
        Some(0) => Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "limit must be 1 or more")),
        limit => Ok(limit),
    }
}
