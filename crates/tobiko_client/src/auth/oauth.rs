//! The token endpoint: client credentials and refresh tokens. The bearer of the API is the `id_token` of the response.
use std::future::Future;
use std::pin::Pin;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    ClientId, ClientSecret, ExtraTokenFields, HttpRequest, HttpResponse, RefreshToken, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tobiko_api::excerpt;
use url::Url;

use crate::error::Failure;
use crate::http::response::{RawResponse, error_detail, is_transient};
use crate::http::transport;
use crate::urls::redacted;
use crate::{Error, Secret};

/// When the response does not say how long a token is valid.
const DEFAULT_LIFETIME_SECS: i64 = 10 * 60;

/// What to do about a URL that is not a token endpoint.
const CHECK_TOKEN_URL: &str = "check TCLOUD_TOKEN_URL (by default, the token endpoint is below TCLOUD_BASE_URL)";

/// Where tokens are granted, and to whom.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub http: reqwest::Client,
    pub url: Url,
    pub scope: String,
    pub client_id: String,
    /// None for the tool's public client.
    pub secret: Option<Secret>,
}

/// What was granted.
pub(crate) struct Granted {
    pub id_token: Secret,
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    pub scope: Option<String>,
    pub token_type: String,
    pub expires_in_secs: i64,
}

/// What the response has beside the standard fields. No `Debug` of it may show the token.
#[derive(Debug, Deserialize, Serialize)]
struct WithIdToken {
    #[serde(serialize_with = "nothing", deserialize_with = "secret", default)]
    id_token: Option<Secret>,
}

impl ExtraTokenFields for WithIdToken {}

type Response = StandardTokenResponse<WithIdToken, BasicTokenType>;
type OauthClient = oauth2::Client<
    BasicErrorResponse,
    Response,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

type Exchange = Pin<Box<dyn Future<Output = Result<HttpResponse, NotGranted>> + Send>>;

impl Endpoint {
    /// A token for a client that sends its secret.
    pub async fn client_credentials(&self) -> Result<Granted, Failure> {
        let client = self.client().set_token_uri(TokenUrl::from_url(self.url.clone()));
        let request = client.exchange_client_credentials().add_scope(Scope::new(self.scope.clone()));
        let sent = request.request_async(&self.http_client(None)).await;
        self.granted(sent)
    }

    /// A token for a user who has logged in before.
    pub async fn refresh(&self, refresh_token: &Secret, scope: &str) -> Result<Granted, Failure> {
        let client = self.client().set_token_uri(TokenUrl::from_url(self.url.clone()));
        let old = RefreshToken::new(refresh_token.expose().to_owned());
        let request = client.exchange_refresh_token(&old).add_scope(Scope::new(scope.to_owned()));
        let sent = request.request_async(&self.http_client(Some(refresh_token))).await;
        self.granted(sent)
    }

    fn client(&self) -> OauthClient {
        let client = OauthClient::new(ClientId::new(self.client_id.clone()));
        match &self.secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        }
    }

    /// The HTTP client of oauth2: this project's own. (It owns what it uses: a borrow would keep the calls from being `Send`.)
    fn http_client(&self, refresh_token: Option<&Secret>) -> impl Fn(HttpRequest) -> Exchange + Send + Sync + 'static {
        let (endpoint, refresh_token) = (self.clone(), refresh_token.cloned());
        move |request| {
            let (endpoint, refresh_token) = (endpoint.clone(), refresh_token.clone());
            Box::pin(async move { endpoint.exchange(request, refresh_token.as_ref()).await })
        }
    }

    /// The response with a token; all else is a failure already.
    async fn exchange(&self, request: HttpRequest, refresh_token: Option<&Secret>) -> Result<HttpResponse, NotGranted> {
        let url = redacted(&self.url);
        let mut request = reqwest::Request::try_from(request)
            .map_err(|_| Error::Config(format!("cannot make a request for {url}: check TCLOUD_TOKEN_URL")))?;
        for value in request.headers_mut().values_mut() {
            value.set_sensitive(true);
        }
        tracing::debug!("POST {url} for client {}", self.client_id);
        let sent = self.http.execute(request).await;
        let response = sent.map_err(|error| transport::failure(&error, &self.url))?;
        let response = transport::read_whole(response).await?;
        if response.status == 200 && serde_json::from_slice::<Value>(&response.body).is_ok() {
            return Ok(HttpResponse::new(response.body));
        }
        let sent = [self.secret.as_ref(), refresh_token];
        Err(NotGranted(rejection(&response, self.who(), |text| {
            sent.into_iter().flatten().fold(text, |text, secret| secret.redacted(&text))
        })))
    }

    fn who(&self) -> Who {
        if self.secret.is_some() { Who::Client } else { Who::Login }
    }

    fn granted(
        &self,
        sent: Result<Response, RequestTokenError<NotGranted, BasicErrorResponse>>,
    ) -> Result<Granted, Failure> {
        let unusable = |what: String| -> Failure {
            Error::UnexpectedResponse {
                url: redacted(&self.url),
                reason: format!("grants no token that can be used ({what})"),
                remedy: CHECK_TOKEN_URL,
            }
            .into()
        };
        let response = sent.map_err(|error| match error {
            RequestTokenError::Request(NotGranted(failure)) => failure,
            // Its second part is the response itself, which contains tokens.
            RequestTokenError::Parse(error, _) => {
                unusable(what_is_wrong(&error.path().to_string(), &error.inner().to_string()))
            }
            RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => unusable("odd response".to_owned()),
        })?;
        let Some(id_token) = response.extra_fields().id_token.clone() else {
            return Err(unusable("its response has no id_token".to_owned()));
        };
        let scope = |scopes: &Vec<Scope>| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
        Ok(Granted {
            id_token,
            access_token: response.access_token().secret().clone().into(),
            refresh_token: response.refresh_token().map(|token| token.secret().clone().into()),
            scope: response.scopes().map(scope),
            token_type: match response.token_type() {
                BasicTokenType::Bearer => "Bearer".to_owned(),
                other => other.as_ref().to_owned(),
            },
            expires_in_secs: response.expires_in().map_or(DEFAULT_LIFETIME_SECS, |life| life.as_secs() as i64),
        })
    }
}

/// Who has to check something when the login is rejected.
#[derive(Clone, Copy)]
enum Who {
    Client,
    Login,
}

/// Carries a failure through oauth2, which wants an error of its HTTP client.
#[derive(Debug, thiserror::Error)]
#[error("not granted")]
struct NotGranted(Failure);

impl From<Failure> for NotGranted {
    fn from(failure: Failure) -> Self {
        NotGranted(failure)
    }
}

impl From<Error> for NotGranted {
    fn from(error: Error) -> Self {
        NotGranted(error.into())
    }
}

/// What a response means that grants nothing. `redact` removes secrets from what the server sent.
fn rejection(response: &RawResponse, who: Who, redact: impl Fn(String) -> String) -> Failure {
    let (url, status) = (redacted(&response.url), response.status);
    let error_in = |name: &str| {
        let fields = serde_json::from_slice::<Value>(&response.body).ok()?;
        fields.get(name)?.as_str().map(str::to_owned)
    };
    let code = error_in("error");
    let detail = redact(match (&code, error_in("error_description")) {
        (Some(code), Some(description)) => excerpt(&format!("{code}, {description}"), 300),
        (Some(code), None) => code.clone(),
        (None, _) => error_detail(&response.body),
    });
    if is_transient(status) {
        let error = Error::Unreachable { url, reason: format!("it answered {status}: {detail}") };
        return Failure::Transient { error, retry_after: response.retry_after };
    }
    let is_oauth_error = code.is_some() && (400..500).contains(&status);
    if !is_oauth_error && !matches!(status, 401 | 403) {
        let reason = format!("does not answer as a token endpoint ({status}: {detail})");
        return Error::UnexpectedResponse { url, reason, remedy: CHECK_TOKEN_URL }.into();
    }
    let check = match (code.as_deref(), who) {
        (Some("invalid_scope"), _) => "check TCLOUD_SCOPE",
        (_, Who::Client) => "check TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET",
        (_, Who::Login) => "log in again with `tcloud auth login`, or set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET",
    };
    Error::Unauthenticated { url, reason: format!("rejected the login ({status}: {detail}): {check}") }.into()
}

/// Names the field, never its content.
fn what_is_wrong(path: &str, parser_says: &str) -> String {
    match parser_says.split(" at line").next() {
        Some(text) if text.starts_with("missing field") => text.to_owned(),
        _ => format!("its field {path} cannot be read"),
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(Secret::from))
}

fn nothing<S: serde::Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rejection_says_what_to_check() {
        fn check(who: Who, status: u16, body: &str, expected: &str) {
            let url = Url::parse("https://h/auth/token").unwrap();
            let response = RawResponse { status, url, retry_after: None, body: body.into() };
            let text = match rejection(&response, who, |text| Secret::from("s3cret").redacted(&text)) {
                Failure::Transient { error: Error::Unreachable { url, reason }, .. } => {
                    format!("transient: {url} {reason}")
                }
                Failure::Transient { error, .. } | Failure::NoApi(error) | Failure::Permanent(error) => {
                    error.to_string()
                }
            };
            assert_eq!(text, expected);
        }
        const URL: &str = "https://h/auth/token";
        const IDS: &str = "check TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET";
        const AGAIN: &str = "log in again with `tcloud auth login`, or set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET";
        let client_error = r#"{"error":"invalid_client","error_description":"s3cret is wrong"}"#;
        check(
            Who::Client,
            401,
            client_error,
            &format!("{URL} rejected the login (401: invalid_client, *** is wrong): {IDS}"),
        );
        check(
            Who::Client,
            400,
            r#"{"error":"invalid_client"}"#,
            &format!("{URL} rejected the login (400: invalid_client): {IDS}"),
        );
        check(
            Who::Client,
            400,
            r#"{"error":"invalid_scope"}"#,
            &format!("{URL} rejected the login (400: invalid_scope): check TCLOUD_SCOPE"),
        );
        check(Who::Client, 401, r#"{"detail":"no"}"#, &format!("{URL} rejected the login (401: no): {IDS}"));
        check(Who::Client, 403, "<html>", &format!("{URL} rejected the login (403: an HTML page): {IDS}"));
        check(
            Who::Login,
            400,
            r#"{"error":"invalid_grant"}"#,
            &format!("{URL} rejected the login (400: invalid_grant): {AGAIN}"),
        );
        check(
            Who::Client,
            404,
            "",
            &format!("{URL} does not answer as a token endpoint (404: nothing): {CHECK_TOKEN_URL}"),
        );
        check(
            Who::Client,
            307,
            "",
            &format!("{URL} does not answer as a token endpoint (307: nothing): {CHECK_TOKEN_URL}"),
        );
        check(
            Who::Client,
            200,
            "<title>Hi</title>",
            &format!("{URL} does not answer as a token endpoint (200: an HTML page, \"Hi\"): {CHECK_TOKEN_URL}"),
        );
        check(Who::Client, 503, r#"{"error":"down"}"#, &format!("transient: {URL} it answered 503: down"));
        check(Who::Client, 429, "", &format!("transient: {URL} it answered 429: nothing"));
    }
}
