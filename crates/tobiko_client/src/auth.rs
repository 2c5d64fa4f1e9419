//! The bearer to send, by any of the three ways, and what to tell a user whose bearer is refused.
use std::path::Path;

use tobiko_api::warn::warn_once;

use crate::address::{checked, shown};
use crate::error::Failure;
use crate::login_file::LoginFile;
use crate::oauth::Endpoint;
use crate::token::{Held, Token, TokenCache, now, still_good};
use crate::token_file::{Owner, TokenFile};
use crate::{Credentials, Error, Secret, Settings};

/// Who this client is, and its token.
pub(crate) struct Auth {
    way: Way,
    cache: TokenCache,
}

enum Way {
    Token(Secret),
    Client { endpoint: Endpoint, secret: Secret, file: Option<TokenFile> },
    Login { endpoint: Endpoint, file: LoginFile },
}

/// What to send, and whether another one might be let in where this one is not.
pub(crate) struct Bearer {
    pub secret: Secret,
    pub is_last: bool,
}

impl Auth {
    pub fn new(settings: &Settings, http: &reqwest::Client) -> Result<Auth, Error> {
        let endpoint = |client_id: &str, secret: Option<&Secret>| {
            let url = checked(&settings.token_url, "TCLOUD_TOKEN_URL")?;
            let (client_id, secret) = (client_id.to_owned(), secret.cloned());
            Ok(Endpoint { http: http.clone(), url, scope: settings.scope.clone(), client_id, secret })
        };
        let way = match &settings.credentials {
            Credentials::Token(token) => {
                warn_once(
                    "an API token (TCLOUD_TOKEN) is deprecated: use TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET"
                        .to_owned(),
                );
                Way::Token(token.clone())
            }
            Credentials::Client { id, secret } => {
                let endpoint = endpoint(id, Some(secret))?;
                let file = settings.cache_dir.as_deref().map(|folder| token_file(folder, &endpoint));
                Way::Client { endpoint, secret: secret.clone(), file }
            }
            Credentials::Login { client_id } => {
                Way::Login { endpoint: endpoint(client_id, None)?, file: LoginFile::new(&settings.tcloud_home) }
            }
        };
        Ok(Auth { way, cache: TokenCache::default() })
    }

    /// The bearer for a call; after the API has refused one, another, or an error when there is none to be had.
    pub async fn bearer(&self, refused: Option<&Secret>) -> Result<Bearer, Failure> {
        let held = match &self.way {
            Way::Token(token) => return Ok(Bearer { secret: token.clone(), is_last: true }),
            Way::Client { endpoint, secret, file } => {
                self.cache.get(refused, client_token(endpoint, secret, file.as_ref(), refused)).await?
            }
            Way::Login { endpoint, file } => self.cache.get(refused, login_token(endpoint, file, refused)).await?,
        };
        Ok(Bearer { secret: held.token.bearer, is_last: refused.is_some() && held.is_new })
    }

    /// What to tell when the last bearer was refused by the API at `url`, which `said` something.
    pub fn not_let_in(&self, url: String, said: &str) -> Error {
        let reason = match &self.way {
            Way::Token(_) => format!("refuses the API token (401: {said}): check TCLOUD_TOKEN and TCLOUD_BASE_URL"),
            Way::Client { .. } => format!(
                "refuses the token, a new one too (401: {said}): check TCLOUD_BASE_URL, TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET"
            ),
            Way::Login { file, .. } => format!(
                "refuses the login in {} (401: {said}): check TCLOUD_BASE_URL, or log in again with `tcloud auth login`",
                file.path().display()
            ),
        };
        Error::NotLetIn { url, reason }
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

/// The token that another process left, else a new one, which is left for the others.
async fn client_token(
    endpoint: &Endpoint,
    secret: &Secret,
    file: Option<&TokenFile>,
    refused: Option<&Secret>,
) -> Result<Held, Failure> {
    let _lock = match file {
        Some(file) => file.lock().await,
        None => None,
    };
    let stored = file.and_then(|file| file.read(secret));
    if let Some(token) = stored.as_ref().filter(|token| token.is_good(now(), refused)) {
        return Ok(Held { token: token.clone(), is_new: false });
    }
    match endpoint.client_credentials().await {
        Ok(granted) => {
            let token = Token::granted(granted.id_token, now(), granted.expires_in_secs);
            if let Some(file) = file {
                file.write(&token, secret);
            }
            Ok(Held { token, is_new: true })
        }
        Err(failure) => still_good(stored.as_ref(), refused, failure),
    }
}

/// The token in `auth.yaml`, else a new one for its refresh token, which is put there.
async fn login_token(endpoint: &Endpoint, file: &LoginFile, refused: Option<&Secret>) -> Result<Held, Failure> {
    let _lock = file.lock().await;
    let no_login = |why: &str| -> Failure {
        let reason = format!(
            "needs a login, but {why}: set TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET, or log in with `tcloud auth login`"
        );
        Error::NotLetIn { url: shown(&endpoint.url), reason }.into()
    };
    let mut login = file.read().await.map_err(|why| no_login(&why))?;
    let stored = login.token();
    if let Some(token) = stored.as_ref().filter(|token| token.is_good(now(), refused)) {
        return Ok(Held { token: token.clone(), is_new: false });
    }
    let Some(refresh_token) = login.refresh_token() else {
        return Err(no_login(&format!("the one in {} has expired or is refused", file.path().display())));
    };
    let scope = login.scope().unwrap_or(&endpoint.scope).to_owned();
    match endpoint.refresh(&refresh_token, &scope).await {
        Ok(granted) => {
            let token = Token::granted(granted.id_token.clone(), now(), granted.expires_in_secs);
            login.renew(&granted, &token);
            if let Err(error) = file.write(&login) {
                warn_once(format!("the renewed login cannot be kept in {}: {error}", file.path().display()));
            }
            Ok(Held { token, is_new: true })
        }
        // The tool takes no lock: it may have used this refresh token a moment ago, and have left a new login.
        Err(failure @ Failure::Lasting(_)) => {
            let newer = file.read().await.ok().and_then(|login| login.token());
            let newer = newer.filter(|token| token.is_good(now(), refused));
            newer.map(|token| Held { token, is_new: false }).ok_or(failure)
        }
        Err(failure) => still_good(stored.as_ref(), refused, failure),
    }
}
