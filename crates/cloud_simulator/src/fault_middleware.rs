//! Does to a request what its fault says. Stands before everything else, so that the true API behind it stays as it is.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use url::form_urlencoded::{Serializer, parse};

use crate::Simulation;
use crate::faults::{Act, Answer, Body, Effect, Since};
use crate::listener::Peer;
use crate::mutations::{mutate, with_odd_statuses};
use local_cloud::below_project;

/// How many chunks a slow body is sent in.
const CHUNKS: usize = 10;

/// After the first half of a body, so that it is on its way before the connection breaks off.
const BEFORE_THE_CUT: Duration = Duration::from_millis(30);

/// More than any list of the API holds.
const ALL: &str = "1000000";

pub(crate) async fn apply_faults(
    State(simulation): State<Arc<Simulation>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (method, whole_uri) = (request.method().clone(), request.uri().clone());
    // Faults meet requests below a project's base URL as they do below the plain one.
    let (base, uri) = below_project(&whole_uri);
    simulation.count(&method, &uri);
    let effect = simulation.faults.apply_to(&method, &uri, simulation.clock.now_s());
    if effect != Effect::default() {
        tracing::debug!("{method} {} gets {effect:?}", uri.path());
    }
    let (mutations, since) = (effect.mutations, effect.since);
    let true_answer = async |is_whole: bool| {
        let mut request = request;
        let is_api = uri.path().starts_with("/api/");
        let is_changed = is_api && (!mutations.is_empty() || since.is_some() || simulation.player.has_odd_statuses());
        if is_changed || is_whole {
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        let (to, after) = rewritten(&uri, since);
        let to = if effect.no_default_limit { without_default_limit(&to) } else { to };
        *request.uri_mut() = Uri::try_from(format!("{base}{to}")).unwrap_or(to);
        let response = next.run(request).await;
        if !is_changed {
            return response;
        }
        changed(response, |answer| {
            if let Some(after) = after {
                after.cut(answer);
            }
            with_odd_statuses(answer, |id| simulation.player.odd_status(id));
            mutate(answer, &mutations);
        })
        .await
    };
    match effect.act {
        None | Some(Act::Alter(_) | Act::SinceRunId(_) | Act::NoDefaultLimit | Act::Refuse) => true_answer(false).await,
        Some(Act::Answer(answer)) => other(&answer),
        Some(Act::Drop) => broken(&peer, false),
        Some(Act::Reset) => broken(&peer, true),
        Some(Act::Cut) => cut(true_answer(true).await).await,
        Some(Act::SlowHeaders(seconds)) => {
            sleep(seconds).await;
            true_answer(false).await
        }
        Some(Act::SlowBody(seconds)) => slow_body(true_answer(true).await, seconds).await,
        Some(Act::Redirect(to)) => redirect(&to, &whole_uri),
        Some(Act::RevokeTokens) => {
            simulation.cloud.revoke_tokens();
            true_answer(false).await
        }
    }
}

/// The answer of a proxy, or of an API in trouble.
fn other(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (kind, body) = match answer.body {
        Body::Detail => {
            ("application/json", json!({"detail": format!("a fault of the scenario: {status}")}).to_string())
        }
        Body::Html => ("text/html", format!("<html><head><title>{status}</title></head><body>A proxy.</body></html>")),
        Body::Empty => ("application/json", String::new()),
        Body::Malformed => ("application/json", "{\"detail\": malformed}".to_owned()),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(seconds) = answer.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if let Some(seconds) = answer.retry_after_date_s {
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
        headers.extend(HeaderValue::try_from(date).map(|date| (RETRY_AFTER, date)));
    }
    (status, headers, body).into_response()
}

/// The answer never leaves.
fn broken(peer: &Peer, with_reset: bool) -> Response {
    peer.break_off(with_reset);
    StatusCode::NO_CONTENT.into_response()
}

fn redirect(to: &str, uri: &Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = match to {
        "slash" => format!("{}/{query}", uri.path()),
        origin => format!("{}{}{query}", origin.trim_end_matches('/'), uri.path()),
    };
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response()
}

/// The whole length is announced, and half of it comes.
async fn cut(response: Response) -> Response {
    let (mut parts, bytes) = whole(response).await;
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    let chunks = stream::unfold(Some(half), |half| async move {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        tokio::time::sleep(BEFORE_THE_CUT).await;
        Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None))
    });
    Response::from_parts(parts, HttpBody::from_stream(chunks))
}

async fn slow_body(response: Response, seconds: f64) -> Response {
    let (parts, bytes) = whole(response).await;
    let size = bytes.len().div_ceil(CHUNKS).max(1);
    let chunks = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(seconds / CHUNKS as f64).await;
        let chunk = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, io::Error>(chunk), rest))
    });
    Response::from_parts(parts, HttpBody::from_stream(chunks))
}

/// The response with `change` done to its JSON.
async fn changed(response: Response, change: impl FnOnce(&mut Value)) -> Response {
    let (mut parts, bytes) = whole(response).await;
    let Ok(mut answer) = serde_json::from_slice(&bytes) else {
        return Response::from_parts(parts, bytes.into());
    };
    if parts.status.is_success() {
        change(&mut answer);
    }
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, answer.to_string().into())
}

async fn whole(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    // A body that the server itself has made does not fail.
    (parts, to_bytes(body, usize::MAX).await.unwrap_or_default())
}

/// What is left of an answer that holds all runs.
struct After {
    run_id: String,
    limit: usize,
    keeps_it: bool,
    is_ascending: bool,
}

impl After {
    fn cut(self, answer: &mut Value) {
        let Value::Array(runs) = answer else { return };
        if self.keeps_it
            && let Some(at) = runs.iter().position(|run| run["run_id"] == self.run_id.as_str())
        {
            if self.is_ascending {
                runs.drain(..at);
            } else {
                runs.truncate(at + 1);
            }
        }
        runs.truncate(self.limit);
    }
}

/// Where a request goes: without a slash at the end of its path, and `since_run_id` meaning what the fault says.
fn rewritten(uri: &Uri, since: Option<Since>) -> (Uri, Option<After>) {
    let path = if uri.path().starts_with("/api/") { uri.path().trim_end_matches('/') } else { uri.path() };
    let mut query: Vec<(String, String)> = parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let field = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let run_id = field("since_run_id").unwrap_or_default();
    let is_ascending = field("sort").as_deref() == Some("asc");
    let limit = field("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let after = match since {
        None => None,
        Some(Since::Unknown) => {
            query.retain(|(key, _)| key != "since_run_id");
            query.push(("since_run_id".to_owned(), format!("{run_id} (as if unknown)")));
            None
        }
        Some(since) => {
            query.retain(|(key, _)| !["since_run_id", "limit"].contains(&key.as_str()));
            query.push(("limit".to_owned(), ALL.to_owned()));
            Some(After { run_id, limit, keeps_it: since == Since::Included, is_ascending })
        }
    };
    let query = match since {
        None => uri.query().map(str::to_owned),
        Some(_) => Some(Serializer::new(String::new()).extend_pairs(query).finish()),
    };
    let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    (Uri::try_from(text).unwrap_or_else(|_| uri.clone()), after)
}

/// The same request, of all records where it names no limit.
fn without_default_limit(uri: &Uri) -> Uri {
    let query = uri.query().unwrap_or_default();
    if parse(query.as_bytes()).any(|(key, _)| key == "limit") {
        return uri.clone();
    }
    let query = Serializer::new(query.to_owned()).append_pair("limit", ALL).finish();
    Uri::try_from(format!("{}?{query}", uri.path())).unwrap_or_else(|_| uri.clone())
}

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_default_limit_all_is_requested() {
        let check = |uri: &'static str, expected: &str| {
            assert_eq!(without_default_limit(&Uri::from_static(uri)).to_string(), expected);
        };
        check("/api/v1/runs", "/api/v1/runs?limit=1000000");
        check("/api/v1/evaluations?latest=true", "/api/v1/evaluations?latest=true&limit=1000000");
        check("/api/v1/runs?limit=5", "/api/v1/runs?limit=5");
    }

    #[test]
    fn requests_are_rewritten() {
        let check = |uri: &'static str, since: Option<Since>, expected: &str| {
            assert_eq!(rewritten(&Uri::from_static(uri), since).0.to_string(), expected, "{uri}");
        };
        check("/api/v1/runs/?limit=5", None, "/api/v1/runs?limit=5");
        check("/api/v1/dags/release%2F1.2", None, "/api/v1/dags/release%2F1.2");
        check("/", None, "/");
        check(
            "/api/v1/runs?since_run_id=r1&limit=5&sort=desc",
            Some(Since::Ignored),
            "/api/v1/runs?sort=desc&limit=1000000",
        );
    }

    #[test]
    fn a_list_may_hold_the_run_itself() {
        let cut = |keeps_it, limit| {
            let mut answer = json!([{"run_id": "c"}, {"run_id": "b"}, {"run_id": "a"}]);
            After { run_id: "b".to_owned(), limit, keeps_it, is_ascending: false }.cut(&mut answer);
            answer.as_array().map_or(0, Vec::len)
        };
        assert_eq!([cut(true, 100), cut(false, 100), cut(true, 1)], [2, 3, 1]);
    }
}
