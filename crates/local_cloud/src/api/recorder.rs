//! `POST /recorder/v1/events`: the recorder's events, as JSON lines.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};

use super::{Api, ApiError};
use crate::ingest::{self, Receipt};
use crate::moment::Moment;

/// Types that no web page may post to another origin without asking first: else any page that the user has open could
/// write here.
const TYPES: [&str; 3] = ["application/x-ndjson", "application/jsonl", "application/json"];

pub(super) async fn take(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Result<Json<Receipt>, ApiError> {
    let content_type = headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| TYPES.contains(&essence.trim())) {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the events as application/x-ndjson"));
    }
    let receipt = api.store.write(move |connection| {
        let lines = String::from_utf8_lossy(&body);
        ingest::take(connection, &lines, Moment::now())
    });
    Ok(Json(receipt.await?))
}
