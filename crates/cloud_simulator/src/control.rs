//! The control API: starts runs and faults at will, and reports the truth. On a listener of its own, which
//! no fault touches and which is on this machine only.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use local_cloud::DatabaseError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Simulation;
use crate::faults::Rule;
use crate::file::{Environment, Forget, Run, from_value};
use crate::mutations::with_odd_statuses;

pub(crate) fn routes(simulation: Arc<Simulation>) -> Router {
    Router::new()
        .route("/control/state", get(state))
        .route("/control/environments", post(environments))
        .route("/control/runs", post(runs))
        .route("/control/runs/{run_id}/end", post(end_run))
        .route("/control/forget", post(forget))
        .route("/control/faults", post(faults).delete(no_faults))
        .route("/control/faults/{id}", delete(no_fault))
        .route("/control/revoke", post(revoke))
        .route("/control/clock", post(clock))
        .fallback(async || ControlError::new(StatusCode::NOT_FOUND, "no such control: see docs/scenarios.md"))
        .layer(middleware::from_fn(only_programs_of_this_machine))
        .with_state(simulation)
}

/// No web page may steer this: it can neither send JSON to another origin without asking first, nor hide the name under
/// which it came here.
async fn only_programs_of_this_machine(request: axum::extract::Request, next: Next) -> Response {
    let of = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = of(request.headers(), HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    if !["127.0.0.1", "localhost", "[::1]"].contains(&name) {
        return ControlError::new(StatusCode::FORBIDDEN, format!("{host:?} is not this machine")).into_response();
    }
    let is_json = of(request.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if request.method() == axum::http::Method::POST && !is_json {
        return ControlError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json").into_response();
    }
    next.run(request).await
}

/// An answer other than 200.
struct ControlError {
    status: StatusCode,
    detail: String,
}

impl ControlError {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"detail": self.detail}))).into_response()
    }
}

impl From<DatabaseError> for ControlError {
    fn from(error: DatabaseError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to {error}"))
    }
}

type Answer = Result<Json<Value>, ControlError>;

/// One description, or a list of them.
fn described<T: DeserializeOwned>(body: &Bytes) -> Result<Vec<T>, ControlError> {
    let bad = |reason: String| ControlError::new(StatusCode::UNPROCESSABLE_ENTITY, reason);
    match serde_json::from_slice(body).map_err(|error| bad(error.to_string()))? {
        Value::Array(items) => items.into_iter().map(|item| from_value(item).map_err(bad)).collect(),
        one => Ok(vec![from_value(one).map_err(bad)?]),
    }
}

async fn environments(State(simulation): State<Arc<Simulation>>, body: Bytes) -> Answer {
    let now_s = simulation.clock.now_s();
    for environment in described::<Environment>(&body)? {
        let environment = Environment { at_s: Some(environment.at_s.unwrap_or_default()), ..environment };
        simulation.player.add_environment(environment, now_s);
    }
    Ok(Json(json!({})))
}

async fn runs(State(simulation): State<Arc<Simulation>>, body: Bytes) -> Answer {
    let now_s = simulation.clock.now_s();
    let runs = described::<Run>(&body)?;
    if let Some(reason) = runs.iter().find_map(|run| simulation.player.unknown_name(run)) {
        return Err(ControlError::new(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let run_ids: Vec<String> = runs.into_iter().map(|run| simulation.player.add_run(run, now_s)).collect();
    Ok(Json(json!({"run_ids": run_ids})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndNow {
    #[serde(default = "failed")]
    status: local_cloud::Status,
    message: Option<String>,
}

async fn end_run(State(simulation): State<Arc<Simulation>>, Path(run_id): Path<String>, body: Bytes) -> Answer {
    for end in described::<EndNow>(&body)? {
        simulation.player.end_run(&run_id, end.status.as_str(), end.message.as_deref());
    }
    Ok(Json(json!({})))
}

async fn forget(State(simulation): State<Arc<Simulation>>, body: Bytes) -> Answer {
    let now_s = simulation.clock.now_s();
    described::<Forget>(&body)?.into_iter().for_each(|forget| simulation.player.add_forget(forget, now_s));
    Ok(Json(json!({})))
}

async fn faults(State(simulation): State<Arc<Simulation>>, body: Bytes) -> Answer {
    let rules = described::<Rule>(&body)?;
    if let Some(reason) = rules.iter().find_map(Rule::wrong) {
        return Err(ControlError::new(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let now_s = simulation.clock.now_s();
    let ids: Vec<u64> = rules.into_iter().map(|rule| simulation.faults.add(rule, now_s)).collect();
    Ok(Json(json!({"ids": ids})))
}

async fn no_faults(State(simulation): State<Arc<Simulation>>) -> Json<Value> {
    Json(json!({"removed": simulation.faults.remove(None)}))
}

async fn no_fault(State(simulation): State<Arc<Simulation>>, Path(id): Path<u64>) -> Json<Value> {
    Json(json!({"removed": simulation.faults.remove(Some(id))}))
}

async fn revoke(State(simulation): State<Arc<Simulation>>) -> Json<Value> {
    simulation.cloud.revoke_tokens();
    Json(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    speed: Option<f64>,
    #[serde(default)]
    advance_s: f64,
}

async fn clock(State(simulation): State<Arc<Simulation>>, body: Bytes) -> Answer {
    for set in described::<SetClock>(&body)? {
        let is_wrong = |number: f64| !number.is_finite() || number < 0.0;
        if set.speed.is_some_and(is_wrong) || is_wrong(set.advance_s) {
            return Err(ControlError::new(StatusCode::UNPROCESSABLE_ENTITY, "time goes forward only"));
        }
        simulation.clock.set(set.speed, set.advance_s);
    }
    Ok(Json(json!({"now_s": simulation.clock.now_s(), "speed": simulation.clock.speed()})))
}

#[derive(Deserialize)]
struct StateQuery {
    environment: Option<String>,
    run_id: Option<String>,
}

/// The truth: what the API says where nothing goes wrong. Runs and their evaluations, oldest first.
async fn state(State(simulation): State<Arc<Simulation>>, Query(query): Query<StateQuery>) -> Answer {
    let mut contents = simulation.cloud.contents(query.environment, query.run_id).await?;
    let (mut runs, environments) = (contents["runs"].take(), contents["environments"].take());
    let (received, sent) = simulation.traffic.bytes();
    with_odd_statuses(&mut runs, |id| simulation.player.odd_status(id));
    Ok(Json(json!({
        "now_s": simulation.clock.now_s(),
        "speed": simulation.clock.speed(),
        "pending": simulation.player.pending(),
        "due_now": simulation.player.due_now(),
        "environments": environments,
        "runs": runs,
        "faults": simulation.faults.shown(),
        "requests": simulation.counts(),
        "bytes": {"received": received, "sent": sent},
    })))
}

fn failed() -> local_cloud::Status {
    local_cloud::Status::Failed
}
