//! The control endpoint: starts runs and faults at will, and tells what the truth is. On a listener of its own, which
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
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Scripted;
use super::alter::with_odd_statuses;
use super::faults::Rule;
use super::file::{Environment, Forget, Run, from_value};
use crate::api::ApiError;
use crate::api::answers::{DagAnswer, EvaluationAnswer, RunAnswer};
use crate::store::{ActivityFilter, EvaluationFilter, Kind, ask};

pub(super) fn routes(scripted: Arc<Scripted>) -> Router {
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
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "no such control: see docs/scenarios.md"))
        .layer(middleware::from_fn(only_programs_of_this_machine))
        .with_state(scripted)
}

/// No web page may steer this: it can neither send JSON to another origin without asking first, nor hide the name under
/// which it came here.
async fn only_programs_of_this_machine(request: axum::extract::Request, next: Next) -> Response {
    let of = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = of(request.headers(), HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    if !["127.0.0.1", "localhost", "[::1]"].contains(&name) {
        return ApiError::new(StatusCode::FORBIDDEN, format!("{host:?} is not this machine")).into_response();
    }
    let is_json = of(request.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if request.method() == axum::http::Method::POST && !is_json {
        return ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json").into_response();
    }
    next.run(request).await
}

type Answer = Result<Json<Value>, ApiError>;

/// One description, or a list of them.
fn described<T: DeserializeOwned>(body: &Bytes) -> Result<Vec<T>, ApiError> {
    let bad = |reason: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, reason);
    match serde_json::from_slice(body).map_err(|error| bad(error.to_string()))? {
        Value::Array(items) => items.into_iter().map(|item| from_value(item).map_err(bad)).collect(),
        one => Ok(vec![from_value(one).map_err(bad)?]),
    }
}

async fn environments(State(scripted): State<Arc<Scripted>>, body: Bytes) -> Answer {
    let now_s = scripted.clock.now_s();
    for environment in described::<Environment>(&body)? {
        let environment = Environment { at_s: Some(environment.at_s.unwrap_or_default()), ..environment };
        scripted.player.add_environment(environment, now_s);
    }
    Ok(Json(json!({})))
}

async fn runs(State(scripted): State<Arc<Scripted>>, body: Bytes) -> Answer {
    let now_s = scripted.clock.now_s();
    let runs = described::<Run>(&body)?.into_iter();
    let run_ids: Vec<String> = runs.map(|run| scripted.player.add_run(run, now_s)).collect();
    Ok(Json(json!({"run_ids": run_ids})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndNow {
    #[serde(default = "failed")]
    status: crate::store::Status,
    message: Option<String>,
}

async fn end_run(State(scripted): State<Arc<Scripted>>, Path(run_id): Path<String>, body: Bytes) -> Answer {
    for end in described::<EndNow>(&body)? {
        scripted.player.end_run(&run_id, end.status.as_str(), end.message.as_deref());
    }
    Ok(Json(json!({})))
}

async fn forget(State(scripted): State<Arc<Scripted>>, body: Bytes) -> Answer {
    let now_s = scripted.clock.now_s();
    described::<Forget>(&body)?.into_iter().for_each(|forget| scripted.player.add_forget(forget, now_s));
    Ok(Json(json!({})))
}

async fn faults(State(scripted): State<Arc<Scripted>>, body: Bytes) -> Answer {
    let rules = described::<Rule>(&body)?;
    if let Some(reason) = rules.iter().find_map(Rule::wrong) {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let now_s = scripted.clock.now_s();
    let ids: Vec<u64> = rules.into_iter().map(|rule| scripted.faults.add(rule, now_s)).collect();
    Ok(Json(json!({"ids": ids})))
}

async fn no_faults(State(scripted): State<Arc<Scripted>>) -> Json<Value> {
    Json(json!({"removed": scripted.faults.remove(None)}))
}

async fn no_fault(State(scripted): State<Arc<Scripted>>, Path(id): Path<u64>) -> Json<Value> {
    Json(json!({"removed": scripted.faults.remove(Some(id))}))
}

async fn revoke(State(scripted): State<Arc<Scripted>>) -> Json<Value> {
    scripted.door.revoke();
    Json(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    speed: Option<f64>,
    #[serde(default)]
    advance_s: f64,
}

async fn clock(State(scripted): State<Arc<Scripted>>, body: Bytes) -> Answer {
    for set in described::<SetClock>(&body)? {
        let is_wrong = |number: f64| !number.is_finite() || number < 0.0;
        if set.speed.is_some_and(is_wrong) || is_wrong(set.advance_s) {
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "time goes forward only"));
        }
        scripted.clock.set(set.speed, set.advance_s);
    }
    Ok(Json(json!({"now_s": scripted.clock.now_s(), "speed": scripted.clock.speed()})))
}

#[derive(Deserialize)]
struct StateQuery {
    environment: Option<String>,
    run_id: Option<String>,
}

/// The truth: what the API says where nothing goes wrong. Runs and their evaluations, oldest first.
async fn state(State(scripted): State<Arc<Scripted>>, Query(query): Query<StateQuery>) -> Answer {
    let links = scripted.links.clone();
    let found = scripted.store.read(move |connection| {
        let filter = ActivityFilter {
            kind: Kind::Run,
            environment: query.environment,
            after: None,
            newest_first: false,
            limit: u32::MAX,
        };
        let mut runs = Vec::new();
        for run in ask::activities(connection, &filter)? {
            if query.run_id.as_deref().is_some_and(|wanted| wanted != run.id) {
                continue;
            }
            let of_run = EvaluationFilter { run_id: Some(run.id.clone()), ..EvaluationFilter::default() };
            let evaluations = ask::evaluations(connection, &of_run)?.into_iter();
            let evaluations: Vec<_> = evaluations.map(|one| EvaluationAnswer::new(one, &links)).collect();
            let mut told = json!(RunAnswer::new(run, &links));
            told["evaluations"] = json!(evaluations);
            runs.push(told);
        }
        let mut dags = json!({});
        for environment in ask::environments(connection)? {
            let dag = ask::dag(connection, &environment.name)?;
            dags[environment.name] = json!(dag.map(|dag| DagAnswer::new(dag, &links)));
        }
        Ok((Value::from(runs), dags))
    });
    let (mut runs, environments) = found.await?;
    let (received, sent) = scripted.traffic.bytes();
    with_odd_statuses(&mut runs, |id| scripted.player.odd_status(id));
    Ok(Json(json!({
        "now_s": scripted.clock.now_s(),
        "speed": scripted.clock.speed(),
        "pending": scripted.player.pending(),
        "due_now": scripted.player.due_now(),
        "environments": environments,
        "runs": runs,
        "faults": scripted.faults.shown(),
        "requests": scripted.counts(),
        "bytes": {"received": received, "sent": sent},
    })))
}

fn failed() -> crate::store::Status {
    crate::store::Status::Failed
}
