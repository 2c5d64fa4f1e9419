//! Flags and environment variables, checked once and made ready to use. Nothing else reads either.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tobiko_client::{ClientConfig, Credentials, RetryConfig, Secret, TCLOUD_TOOL_CLIENT_ID, Timeouts};
use url::Url;

use crate::cli::CloudArgs;
use crate::exit_code::Usage;

/// The token endpoint of Tobiko Cloud, for its own hosts alone.
const TOBIKO_CLOUD_TOKEN_URL: &str = "https://cloud.tobikodata.com/auth/token";
const TOBIKO_CLOUD_DOMAIN: &str = "tobikodata.com";

/// How long a command may wait for the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutProfile {
    /// Dagster waits for the command, 20 s at most.
    Short,
    /// A job, which has time.
    Long,
}

/// The client's settings, from flags and environment.
pub fn cloud(args: &CloudArgs, profile: TimeoutProfile) -> Result<ClientConfig> {
    let base_url = args.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
    let base_url = base_url.ok_or_else(|| {
        Usage::new("the URL of the Tobiko Cloud project is missing: set TCLOUD_BASE_URL, or give --base-url")
    })?;
    let base_url = url("base URL", base_url, "TCLOUD_BASE_URL")?;
    let given = args.token_url.as_deref().filter(|url| !url.is_empty());
    let token_url = url("token URL", &given.map_or_else(|| token_url(&base_url), str::to_owned), "TCLOUD_TOKEN_URL")?;
    // A login of the tcloud tool was granted by Tobiko Cloud, or by the endpoint that was given: no other server gets it.
    let takes_a_login = given.is_some() || is_tobiko_cloud(&base_url);
    let (timeouts, retry) = time_limits(args, profile);
    Ok(ClientConfig {
        base_url,
        credentials: match credentials(args, secret("TCLOUD_TOKEN"), secret("TCLOUD_CLIENT_SECRET"))? {
            // A local cloud without an OAuth client accepts any.
            Credentials::Login { .. } if !takes_a_login => {
                Credentials::Client { id: "local".to_owned(), secret: Secret::from("local".to_owned()) }
            }
            given => given,
        },
        token_url,
        scope: args.scope.clone(),
        tcloud_home: args.tcloud_home.clone().or_else(|| Some(home()?.join(".tcloud"))).unwrap_or_default(),
        ca_file: args.ca_file.clone(),
        cache_dir: cache_dir(),
        timeouts,
        retry,
    })
}

/// A secret from the environment; set but empty is as good as not set.
pub fn secret(variable: &str) -> Option<Secret> {
    env::var(variable).ok().filter(|value| !value.is_empty()).map(Secret::from)
}

/// An HTTP URL, or an error that names the variable.
pub fn url(what: &str, text: &str, variable: &str) -> Result<Url> {
    let wrong = || Usage::new(format!("the {what} is no URL such as https://host/path: check {variable}"));
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong().into());
    }
    Ok(url)
}

/// The token endpoint that goes with a base URL: credentials go to the host that they are for, and to no other.
fn token_url(base_url: &Url) -> String {
    if is_tobiko_cloud(base_url) {
        TOBIKO_CLOUD_TOKEN_URL.to_owned()
    } else {
        let mut base_url = base_url.clone();
        base_url.set_query(None);
        base_url.set_fragment(None);
        format!("{}/auth/token", base_url.as_str().trim_end_matches('/'))
    }
}

/// A host of Tobiko Cloud's own, reached by HTTPS.
fn is_tobiko_cloud(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let below = host.strip_suffix(TOBIKO_CLOUD_DOMAIN);
    url.scheme() == "https" && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

fn credentials(args: &CloudArgs, token: Option<Secret>, client_secret: Option<Secret>) -> Result<Credentials> {
    let client_id = args.client_id.clone().filter(|id| !id.is_empty());
    match (token, client_id, client_secret) {
        (Some(_), Some(_), _) => Err(Usage::new(
            "a token and an OAuth client id are given together: unset TCLOUD_TOKEN, or TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET",
        )
        .into()),
        (Some(token), None, _) => Ok(Credentials::Token(token)),
        (None, Some(id), Some(secret)) => Ok(Credentials::Client { id, secret }),
        (None, None, Some(_)) => {
            Err(Usage::new("there is a client secret without a client id: set TCLOUD_CLIENT_ID").into())
        }
        (None, id, None) => Ok(Credentials::Login { client_id: id.unwrap_or_else(|| TCLOUD_TOOL_CLIENT_ID.to_owned()) }),
    }
}

fn time_limits(args: &CloudArgs, profile: TimeoutProfile) -> (Timeouts, RetryConfig) {
    let (timeouts, retry) = match profile {
        TimeoutProfile::Short => (
            Timeouts {
                connect: Duration::from_secs(5),
                read: Duration::from_secs(10),
                request: Duration::from_secs(15),
            },
            RetryConfig {
                max_backoff: Duration::from_secs(3),
                retry_timeout: Duration::from_secs(16),
                ..RetryConfig::default()
            },
        ),
        TimeoutProfile::Long => (Timeouts::default(), RetryConfig::default()),
    };
    let or = |seconds: Option<f64>, default: Duration| seconds.map_or(default, Duration::from_secs_f64);
    let request = or(args.request_limit, timeouts.request);
    (
        Timeouts { request, read: timeouts.read.min(request), connect: timeouts.connect.min(request) },
        RetryConfig { retry_timeout: or(args.call_limit, retry.retry_timeout), ..retry },
    )
}

/// Where processes share their tokens.
fn cache_dir() -> Option<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("TOBIKO_FACADE_CACHE_DIR")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("tobiko-facade")))
        .or_else(|| Some(home()?.join(".cache").join("tobiko-facade")))
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The client, ready to use.
pub fn client(args: &CloudArgs, profile: TimeoutProfile) -> Result<tobiko_client::Client> {
    tobiko_client::Client::new(cloud(args, profile)?).context("cannot set up the client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_endpoint_belongs_to_the_host_of_the_base_url() {
        fn check(base_url: &str, expected: &str) {
            assert_eq!(token_url(&Url::parse(base_url).unwrap()), expected, "{base_url}");
        }
        check("https://cloud.tobikodata.com/sqlmesh/tobiko/public-demo/", TOBIKO_CLOUD_TOKEN_URL);
        check("https://CLOUD.tobikodata.com", TOBIKO_CLOUD_TOKEN_URL);
        check("https://eu.cloud.tobikodata.com/x", TOBIKO_CLOUD_TOKEN_URL);
        check("http://127.0.0.1:8000", "http://127.0.0.1:8000/auth/token");
        check("http://cloud:8000/", "http://cloud:8000/auth/token");
        check("https://tobiko.example.com/projects/a/?x=1#y", "https://tobiko.example.com/projects/a/auth/token");
        check("https://cloud.tobikodata.com.example.com/x", "https://cloud.tobikodata.com.example.com/x/auth/token");
        check("https://nottobikodata.com/x", "https://nottobikodata.com/x/auth/token");
        check("https://example.com/cloud.tobikodata.com", "https://example.com/cloud.tobikodata.com/auth/token");
        // Not by a connection that anybody can read.
        check("http://cloud.tobikodata.com/x", "http://cloud.tobikodata.com/x/auth/token");
    }
}
