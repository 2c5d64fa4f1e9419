//! The endpoints that programs call. Every response is JSON; an error is `{"detail": "..."}`.

mod dags;
mod environments;
mod evaluations;
mod info;
mod plans;
mod recorder;
pub(crate) mod responses;
mod runs;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::links::Links;
use crate::projects::{self, InPath, Served};
use crate::store::{NO_PROJECT, Store, StoreError};

/// Largest batch of events.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// What the endpoints need.
#[derive(Clone)]
pub(crate) struct Api {
    pub store: Arc<Store>,
    pub links: Links,
    /// `seq` of the project that a request is about.
    pub project: i64,
}

/// The same, for the project that the request is about.
pub(crate) struct ScopedApi(pub Api);

impl FromRequestParts<Api> for ScopedApi {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let project = match projects::served(&api.store, &parts.extensions).await? {
            Served::One(project) => project,
            Served::NothingYet => return Ok(Self(Api { project: NO_PROJECT, ..api.clone() })),
            Served::Unknown(name) => return Err(unknown_project(&name)),
            Served::Several(projects) => {
                let base_urls: Vec<String> = projects.iter().map(|project| api.links.project(project).base()).collect();
                let detail =
                    format!("this server holds several projects: use one of these base URLs: {}", base_urls.join(", "));
                return Err(ApiError::new(StatusCode::CONFLICT, detail));
            }
        };
        let links = match parts.extensions.get::<InPath>() {
            Some(_) => api.links.project(&project),
            None => api.links.clone(),
        };
        Ok(Self(Api { store: Arc::clone(&api.store), links, project: project.seq }))
    }
}

fn unknown_project(name: &str) -> ApiError {
    ApiError::not_found(format!("this server holds no project {name:?}"))
}

/// The routes that need a bearer token.
pub(crate) fn routes(api: Api) -> Router {
    Router::new()
        // A rest of the path, not a segment: clients send the slash in `release/1.2` as it is.
        .route("/api/v1/dags/{*environment}", get(dags::one))
        .route("/api/v1/environments/{*environment}", delete(environments::forget))
        .route("/api/v1/info", get(info::show))
        .route("/api/v1/plans", get(plans::list))
        .route("/api/v1/plans/{plan_id}", get(plans::one))
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
