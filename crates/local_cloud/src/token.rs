//! Who may ask: OAuth client credentials at the token endpoint, and the bearer that every call of the API must carry.
//! Tokens live in memory: after a restart clients fetch new ones, as they do when one has expired.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::Secret;
use crate::api::ApiError;

const LIFETIME: Duration = Duration::from_secs(3600);
const DEFAULT_SCOPE: &str = "tbk:scope:projects";

/// Beyond this many valid tokens the oldest go: a client that never keeps one must not fill the memory.
const MOST_TOKENS: usize = 10_000;

/// The doorkeeper.
pub(crate) struct Door {
    client: Option<(String, Secret)>,
    issued: Mutex<Vec<Issued>>,
}

struct Issued {
    id_token: String,
    until: Instant,
}

/// Answer of the token endpoint. The bearer to send is `id_token`; `access_token` opens nothing.
#[derive(Serialize)]
struct Tokens {
    access_token: String,
    id_token: String,
    token_type: &'static str,
    scope: String,
    expires_in: u64,
}

impl Door {
    pub fn new(client: Option<(String, Secret)>) -> Arc<Self> {
        Arc::new(Self { client, issued: Mutex::default() })
    }

    fn lets_in(&self, id: &str, secret: &str) -> bool {
        match &self.client {
            // Both are compared in any case: the time that it takes says nothing about either.
            Some((true_id, true_secret)) => same(id, true_id) & same(secret, true_secret.expose()),
            None => true,
        }
    }

    fn issue(&self, now: Instant) -> String {
        let id_token = random();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|token| token.until > now);
        if issued.len() >= MOST_TOKENS {
            issued.remove(0);
        }
        issued.push(Issued { id_token: id_token.clone(), until: now + LIFETIME });
        id_token
    }

    /// Makes every token worthless that was given out so far.
    pub fn revoke(&self) {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn knows(&self, bearer: &str, now: Instant) -> bool {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = issued.iter().filter(|token| token.until > now);
        valid.fold(false, |known, token| known | same(bearer, &token.id_token))
    }
}

/// `POST /auth/token`: client id and secret by HTTP Basic, or in the form.
pub(crate) async fn endpoint(State(door): State<Arc<Door>>, headers: HeaderMap, body: Bytes) -> Response {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if door.client.is_some() && !credentials(&headers, field).any(|(id, secret)| door.lets_in(&id, &secret)) {
        let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"local cloud\"")];
        let error = Json(json!({"error": "invalid_client"}));
        return (StatusCode::UNAUTHORIZED, challenge, error).into_response();
    }
    match field("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return bad_request("unsupported_grant_type"),
        None => return bad_request("invalid_request"),
    }
    let scope = field("scope").filter(|scope| !scope.is_empty());
    let tokens = Tokens {
        access_token: random(),
        id_token: door.issue(Instant::now()),
        token_type: "Bearer",
        scope: scope.unwrap_or(DEFAULT_SCOPE).to_owned(),
        expires_in: LIFETIME.as_secs(),
    };
    ([(CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// Lets through what carries a bearer that [`endpoint`] has given out.
pub(crate) async fn require_bearer(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| after_scheme(value, "bearer"));
    if door.client.is_none() || bearer.is_some_and(|bearer| door.knows(bearer, Instant::now())) {
        return next.run(request).await;
    }
    let detail = match bearer {
        Some(_) => "the token is unknown or has expired: fetch a new id_token",
        None => "not authenticated: send an id_token of the token endpoint as bearer",
    };
    let challenge = [(WWW_AUTHENTICATE, "Bearer")];
    (challenge, ApiError::new(StatusCode::UNAUTHORIZED, detail)).into_response()
}

fn bad_request(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}

/// The pairs of id and secret that a request may mean. Clients disagree on whether the two are form-encoded before
/// they go into the Basic header, so that both readings count.
fn credentials<'a>(
    headers: &HeaderMap,
    field: impl Fn(&str) -> Option<&'a str>,
) -> impl Iterator<Item = (String, String)> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = header
        .and_then(|value| after_scheme(value, "basic"))
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned())));
    let decoded = basic.as_ref().map(|(id, secret)| (form_decoded(id), form_decoded(secret)));
    let form = field("client_id").zip(field("client_secret"));
    let form = form.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    [basic, decoded, form].into_iter().flatten()
}

fn after_scheme<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (first, rest) = header.split_once(' ')?;
    first.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Compares in a time that depends on the lengths alone.
fn same(left: &str, right: &str) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let pairs = left.bytes().zip(right.bytes());
    let difference = pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    black_box(difference) == 0
}

/// 244 bits from the system's random number generator.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Arc<Door> {
        Door::new(Some(("me".to_owned(), Secret::from("s3".to_owned()))))
    }

    #[test]
    fn only_the_whole_pair_is_let_in() {
        let check = |id: &str, secret: &str, expected: bool| {
            assert_eq!(door().lets_in(id, secret), expected, "{id} {secret}");
        };
        check("me", "s3", true);
        check("me", "s4", false);
        check("me", "s", false);
        check("me", "", false);
        check("you", "s3", false);
        check("", "", false);
    }

    #[test]
    fn a_token_expires() {
        let (door, now) = (door(), Instant::now());
        let token = door.issue(now);
        assert!(door.knows(&token, now));
        assert!(door.knows(&token, now + LIFETIME - Duration::from_secs(1)));
        assert!(!door.knows(&token, now + LIFETIME));
        assert!(!door.knows("", now));
    }

    #[test]
    fn the_oldest_tokens_go_first() {
        let (door, now) = (door(), Instant::now());
        let first = door.issue(now);
        let others: Vec<String> = (0..MOST_TOKENS).map(|_| door.issue(now)).collect();
        assert!(!door.knows(&first, now));
        assert!(door.knows(&others[0], now));
    }

    #[test]
    fn basic_credentials_may_be_form_encoded() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            let header = format!("Basic {}", BASE64_STANDARD.encode(text));
            headers.insert(AUTHORIZATION, header.parse().expect("a header"));
            let door = Door::new(Some(("a+b".to_owned(), Secret::from("x y%".to_owned()))));
            credentials(&headers, |_| None).any(|(id, secret)| door.lets_in(&id, &secret))
        };
        assert!(check("a+b:x y%"));
        assert!(check("a%2Bb:x+y%25"));
        assert!(!check("a+b:x y"));
    }
}
