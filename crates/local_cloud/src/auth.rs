//! Authentication: OAuth client credentials at the token endpoint, and the bearer token that every call of the API needs.
//! Tokens live in memory: after a restart clients fetch new ones, as they do when one has expired.

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
use subtle::{Choice, ConstantTimeEq};
use uuid::Uuid;

use crate::Secret;
use crate::api::ApiError;

const LIFETIME: Duration = Duration::from_secs(3600);
const DEFAULT_SCOPE: &str = "tbk:scope:projects";

/// Above this number the oldest tokens are dropped: a client that caches none must not fill the memory.
const MAX_TOKENS: usize = 10_000;

/// Knows the OAuth client, if one is required, and the tokens that it was issued.
pub(crate) struct Authenticator {
    client: Option<(String, Secret)>,
    issued: Mutex<Vec<IssuedToken>>,
}

struct IssuedToken {
    id_token: String,
    expires_at: Instant,
}

/// Response of the token endpoint. The bearer to send is `id_token`; `access_token` is of no use here.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    id_token: String,
    token_type: &'static str,
    scope: String,
    expires_in: u64,
}

impl Authenticator {
    pub fn new(client: Option<(String, Secret)>) -> Arc<Self> {
        Arc::new(Self { client, issued: Mutex::default() })
    }

    fn authenticate(&self, id: &str, secret: &str) -> bool {
        match &self.client {
            // Both are always compared: the duration reveals nothing about either.
            Some((expected_id, expected_secret)) => {
                (same(id, expected_id) & same(secret, expected_secret.expose())).into()
            }
            None => true,
        }
    }

    fn issue(&self, now: Instant) -> String {
        let id_token = random();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|token| token.expires_at > now);
        if issued.len() >= MAX_TOKENS {
            issued.remove(0);
        }
        issued.push(IssuedToken { id_token: id_token.clone(), expires_at: now + LIFETIME });
        id_token
    }

    /// Makes every token invalid that was issued so far.
    pub fn revoke(&self) {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn is_valid(&self, bearer: &str, now: Instant) -> bool {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let current = issued.iter().filter(|token| token.expires_at > now);
        current.fold(Choice::from(0), |found, token| found | same(bearer, &token.id_token)).into()
    }
}

/// `POST /auth/token`: client id and secret by HTTP Basic, or in the form.
pub(crate) async fn token_endpoint(
    State(authenticator): State<Arc<Authenticator>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if authenticator.client.is_some()
        && !credentials(&headers, field).any(|(id, secret)| authenticator.authenticate(&id, &secret))
    {
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
    let tokens = TokenResponse {
        access_token: random(),
        id_token: authenticator.issue(Instant::now()),
        token_type: "Bearer",
        scope: scope.unwrap_or(DEFAULT_SCOPE).to_owned(),
        expires_in: LIFETIME.as_secs(),
    };
    ([(CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// Rejects requests without a bearer that [`token_endpoint`] has issued.
pub(crate) async fn require_bearer(
    State(authenticator): State<Arc<Authenticator>>,
    request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| after_scheme(value, "bearer"));
    if authenticator.client.is_none() || bearer.is_some_and(|bearer| authenticator.is_valid(bearer, Instant::now())) {
        return next.run(request).await;
    }
    let detail = match bearer {
        Some(_) => "the token is invalid or has expired: fetch a new id_token",
        None => "not authenticated: send an id_token from the token endpoint as the bearer",
    };
    let challenge = [(WWW_AUTHENTICATE, "Bearer")];
    (challenge, ApiError::new(StatusCode::UNAUTHORIZED, detail)).into_response()
}

/// Rejects requests to pages without the client's id and secret, which browsers ask people for.
pub(crate) async fn require_login(
    State(authenticator): State<Arc<Authenticator>>,
    request: Request,
    next: Next,
) -> Response {
    let is_known =
        credentials(request.headers(), |_| None).any(|(id, secret)| authenticator.authenticate(&id, &secret));
    if authenticator.client.is_none() || is_known {
        return next.run(request).await;
    }
    let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"local cloud\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, challenge, "Log in with the OAuth client's id and secret.\n").into_response()
}

fn bad_request(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}

/// The pairs of id and secret that a request may mean. Clients disagree on whether the two are form-encoded in the Basic
/// header, so both readings count.
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
fn same(left: &str, right: &str) -> Choice {
    left.as_bytes().ct_eq(right.as_bytes())
}

/// 244 bits from the system's random number generator.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator() -> Arc<Authenticator> {
        Authenticator::new(Some(("me".to_owned(), Secret::from("s3".to_owned()))))
    }

    #[test]
    fn only_the_whole_pair_authenticates() {
        let check = |id: &str, secret: &str, expected: bool| {
            assert_eq!(authenticator().authenticate(id, secret), expected, "{id} {secret}");
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
        let (authenticator, now) = (authenticator(), Instant::now());
        let token = authenticator.issue(now);
        assert!(authenticator.is_valid(&token, now));
        assert!(authenticator.is_valid(&token, now + LIFETIME - Duration::from_secs(1)));
        assert!(!authenticator.is_valid(&token, now + LIFETIME));
        assert!(!authenticator.is_valid("", now));
    }

    #[test]
    fn the_oldest_tokens_go_first() {
        let (authenticator, now) = (authenticator(), Instant::now());
        let first = authenticator.issue(now);
        let others: Vec<String> = (0..MAX_TOKENS).map(|_| authenticator.issue(now)).collect();
        assert!(!authenticator.is_valid(&first, now));
        assert!(authenticator.is_valid(&others[0], now));
    }

    #[test]
    fn basic_credentials_may_be_form_encoded() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            let header = format!("Basic {}", BASE64_STANDARD.encode(text));
            headers.insert(AUTHORIZATION, header.parse().expect("a header"));
            let authenticator = Authenticator::new(Some(("a+b".to_owned(), Secret::from("x y%".to_owned()))));
            credentials(&headers, |_| None).any(|(id, secret)| authenticator.authenticate(&id, &secret))
        };
        assert!(check("a+b:x y%"));
        assert!(check("a%2Bb:x+y%25"));
        assert!(!check("a+b:x y"));
    }
}
