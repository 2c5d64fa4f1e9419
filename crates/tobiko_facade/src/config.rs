//! Flags and environment variables, checked once and made ready to use. Nothing else reads either.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tobiko_client::{ClientConfig, Credentials, RetryConfig, Secret, TCLOUD_TOOL_CLIENT_ID, Timeouts};
use url::Url;

use crate::cli::CloudArgs;
use crate::exit_code::Usage;

/// Tobiko Cloud's token endpoint.
const TOKEN_URL: &str = "https://cloud.tobikodata.com/auth/token";

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
    let (token_url, is_local) = match args.token_url.as_deref().filter(|url| !url.is_empty()) {
        Some(given) => (url("token URL", given, "TCLOUD_TOKEN_URL")?, false),
        None if is_loopback(&base_url) => (url("base URL", &local_token_url(&base_url), "TCLOUD_BASE_URL")?, true),
        None => (url("token URL", TOKEN_URL, "TCLOUD_TOKEN_URL")?, false),
    };
    let (timeouts, retry) = time_limits(args, profile);
    Ok(ClientConfig {
        base_url,
        credentials: match credentials(args, secret("TCLOUD_TOKEN"), secret("TCLOUD_CLIENT_SECRET"))? {
            // A local cloud without credentials accepts any.
            Credentials::Login { .. } if is_local => {
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

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn local_token_url(base_url: &Url) -> String {
    format!("{}/auth/token", base_url.as_str().trim_end_matches('/'))
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
