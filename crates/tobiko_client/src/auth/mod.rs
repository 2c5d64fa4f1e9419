//! Authentication: the bearer to send, by any of the three methods, and what a user whose bearer is rejected should check.
mod oauth;
mod private_file;
mod tcloud_login;
mod token;
mod token_file;

use std::path::Path;

use tobiko_api::warn::warn_once;

use self::oauth::Endpoint;
use self::tcloud_login::TcloudLogin;
use self::token::{CachedToken, Token, TokenCache, now, or_still_valid};
use self::token_file::{Owner, TokenFile};
use crate::error::Failure;
use crate::urls::{redacted, validated};
use crate::{ClientConfig, Credentials, Error, Secret};

/// How this client authenticates, and its token.
pub(crate) struct Auth {
    method: Method,
    cache: TokenCache,
}

enum Method {
    Token(Secret),
    Client { endpoint: Endpoint, secret: Secret, file: Option<TokenFile> },
    Login { endpoint: Endpoint, file: TcloudLogin },
}

/// What to send, and whether another one might be accepted where this one is not.
pub(crate) struct Bearer {
    pub secret: Secret,
    pub is_last: bool,
}

impl Auth {
    pub fn new(settings: &ClientConfig, http: &reqwest::Client) -> Result<Auth, Error> {
        let endpoint = |client_id: &str, secret: Option<&Secret>| {
            let url = validated(&settings.token_url, "TCLOUD_TOKEN_URL")?;
            let (client_id, secret) = (client_id.to_owned(), secret.cloned());
            Ok(Endpoint { http: http.clone(), url, scope: settings.scope.clone(), client_id, secret })
        };
        let method = match &settings.credentials {
            Credentials::Token(token) => {
                warn_once(
                    "an API token (TCLOUD_TOKEN) is deprecated: use TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET"
                        .to_owned(),
                );
                Method::Token(token.clone())
            }
            Credentials::Client { id, secret } => {
                let endpoint = endpoint(id, Some(secret))?;
                let file = settings.cache_dir.as_deref().map(|folder| token_file(folder, &endpoint));
                Method::Client { endpoint, secret: secret.clone(), file }
            }
            Credentials::Login { client_id } => {
                Method::Login { endpoint: endpoint(client_id, None)?, file: TcloudLogin::new(&settings.tcloud_home) }
            }
        };
        Ok(Auth { method, cache: TokenCache::default() })
    }

    /// The bearer for a call; after the API has rejected one, another, or an error when there is none.
    pub async fn bearer(&self, rejected: Option<&Secret>) -> Result<Bearer, Failure> {
        let cached = match &self.method {
            Method::Token(token) => return Ok(Bearer { secret: token.clone(), is_last: true }),
            Method::Client { endpoint, secret, file } => {
                self.cache.get(rejected, client_token(endpoint, secret, file.as_ref(), rejected)).await?
            }
            Method::Login { endpoint, file } => self.cache.get(rejected, login_token(endpoint, file, rejected)).await?,
        };
        Ok(Bearer { secret: cached.token.bearer, is_last: rejected.is_some() && cached.is_new })
    }

    /// The failure when the last bearer was rejected by the API at `url`; `detail` is what the API sent. A token that has just been
    /// granted may take a moment to be known everywhere; a static one is known or not.
    pub fn unauthenticated(&self, url: String, detail: &str) -> Failure {
        let reason = match &self.method {
            Method::Token(_) => {
                format!("rejected the API token (401: {detail}): check TCLOUD_TOKEN and TCLOUD_BASE_URL")
            }
            Method::Client { .. } => format!(
                "rejected the token, even after a refresh (401: {detail}): check TCLOUD_BASE_URL, TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET"
            ),
            Method::Login { file, .. } => format!(
                "rejected the login in {} (401: {detail}): check TCLOUD_BASE_URL, or log in again with `tcloud auth login`",
                file.path().display()
            ),
        };
        let error = Error::Unauthenticated { url, reason };
        if matches!(self.method, Method::Token(_)) {
            Failure::Permanent(error)
        } else {
            Failure::Transient { error, retry_after: None }
        }
    }
}

fn token_file(folder: &Path, endpoint: &Endpoint) -> TokenFile {
    let owner = Owner {
        token_url: endpoint.url.to_string(),
        client_id: endpoint.client_id.clone(),
        scope: endpoint.scope.clone(),
    };
    TokenFile::new(folder, owner)
}

/// The token that another process has stored, else a new one, which is stored for the others.
async fn client_token(
    endpoint: &Endpoint,
    secret: &Secret,
    file: Option<&TokenFile>,
    rejected: Option<&Secret>,
) -> Result<CachedToken, Failure> {
    let _lock = match file {
        Some(file) => file.lock().await,
        None => None,
    };
    let stored = file.and_then(|file| file.read(secret));
    if let Some(token) = stored.as_ref().filter(|token| token.is_valid(now(), rejected)) {
        return Ok(CachedToken { token: token.clone(), is_new: false });
    }
    match endpoint.client_credentials().await {
        Ok(granted) => {
            let token = Token::granted(granted.id_token, now(), granted.expires_in_secs);
            if let Some(file) = file {
                file.write(&token, secret);
            }
            Ok(CachedToken { token, is_new: true })
        }
        Err(failure) => or_still_valid(stored.as_ref(), rejected, failure),
    }
}

/// The token in `auth.yaml`, else a new one for its refresh token, which is stored there.
async fn login_token(
    endpoint: &Endpoint,
    file: &TcloudLogin,
    rejected: Option<&Secret>,
) -> Result<CachedToken, Failure> {
    let _lock = file.lock().await;
    let no_login = |why: &str| -> Failure {
        let reason = format!(
            "needs a login, but {why}: set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET, or log in with `tcloud auth login`"
        );
        Error::Unauthenticated { url: redacted(&endpoint.url), reason }.into()
    };
    let mut login = file.read().await.map_err(|why| no_login(&why))?;
    let stored = login.token();
    if let Some(token) = stored.as_ref().filter(|token| token.is_valid(now(), rejected)) {
        return Ok(CachedToken { token: token.clone(), is_new: false });
    }
    let Some(refresh_token) = login.refresh_token() else {
        return Err(no_login(&format!("the one in {} has expired or was rejected", file.path().display())));
    };
    let scope = login.scope().unwrap_or(&endpoint.scope).to_owned();
    match endpoint.refresh(&refresh_token, &scope).await {
        Ok(granted) => {
            let token = Token::granted(granted.id_token.clone(), now(), granted.expires_in_secs);
            login.update(&granted, &token);
            if let Err(error) = file.write(&login) {
                warn_once(format!("the refreshed login cannot be stored in {}: {error}", file.path().display()));
            }
            Ok(CachedToken { token, is_new: true })
        }
        // The tool takes no lock: it may have used this refresh token a moment ago, and have stored a new login.
        Err(failure @ Failure::Permanent(_)) => {
            let newer = file.read().await.ok().and_then(|login| login.token());
            let newer = newer.filter(|token| token.is_valid(now(), rejected));
            newer.map(|token| CachedToken { token, is_new: false }).ok_or(failure)
        }
        Err(failure) => or_still_valid(stored.as_ref(), rejected, failure),
    }
}
