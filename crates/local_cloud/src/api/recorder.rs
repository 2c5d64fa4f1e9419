//! `POST /recorder/v1/events`: the recorder's events, as JSON lines.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode};

use super::{Api, ApiError};
use crate::ingest::{self, IngestResult};
use crate::projects::InPath;
use crate::timestamp::Timestamp;

/// Types that no web page may post to another origin without a preflight request: else any page in the user's browser could
/// write here.
const CONTENT_TYPES: [&str; 3] = ["application/x-ndjson", "application/jsonl", "application/json"];

pub(super) async fn ingest_events(
    State(api): State<Api>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<IngestResult>, ApiError> {
    let content_type = headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| CONTENT_TYPES.contains(&essence.trim())) {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the events as application/x-ndjson"));
    }
    // A project's base URL takes events before the project is known.
    let project = extensions.get::<InPath>().map(|InPath(name)| name.clone());
    let result = api.store.write(move |connection| {
        let lines = String::from_utf8_lossy(&body);
        ingest::ingest(connection, &lines, project.as_deref(), Timestamp::now())
    });
    Ok(Json(result.await?))
}
