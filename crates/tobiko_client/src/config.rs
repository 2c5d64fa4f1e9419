//! What a client is made from. Reading flags and environment variables is left to the caller.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::Secret;
use crate::urls::redacted;

/// The `tcloud` command line tool's own public OAuth client, under which its users log in.
pub const TCLOUD_TOOL_CLIENT_ID: &str = "f695a000-bc5b-43c2-bcb7-8e0179ddff0c";

/// Everything that a [`crate::Client`] needs to know.
#[derive(Clone)]
pub struct ClientConfig {
    /// With a path, with or without a trailing slash; `/api/v1` is below it.
    pub base_url: Url,
    pub credentials: Credentials,
    pub token_url: Url,
    pub scope: String,
    /// The `tcloud` tool's folder, which holds `auth.yaml`. Used with [`Credentials::Login`] only.
    pub tcloud_home: PathBuf,
    /// PEM file with certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where tokens are kept between processes; `None`: in memory only.
    pub cache_dir: Option<PathBuf>,
    pub timeouts: Timeouts,
    pub retry: RetryConfig,
}

/// How the client authenticates.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A static API token (deprecated by the service).
    Token(Secret),
    /// OAuth client credentials.
    Client { id: String, secret: Secret },
    /// A login of the `tcloud` tool (`auth.yaml`); `client_id` is the one that it logged in under,
    /// [`TCLOUD_TOOL_CLIENT_ID`] unless the user set another.
    Login { client_id: String },
}

/// Time limits of a single request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Longest silence between two parts of a response.
    pub read: Duration,
    /// From sending the request to the last byte of its response.
    pub request: Duration,
}

/// How transient failures are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// The first one counts.
    pub max_tries: u32,
    /// The first wait. Each further one is twice as long; half of it more or less is random.
    pub init_backoff: Duration,
    /// The longest wait, without the random part.
    pub max_backoff: Duration,
    /// Bounds one call with all its tries.
    pub retry_timeout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), read: Duration::from_secs(60), request: Duration::from_secs(120) }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            max_tries: 5,
            init_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(180),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs are shown without a password that a user may have put there.
        f.debug_struct("ClientConfig")
            .field("base_url", &redacted(&self.base_url))
            .field("credentials", &self.credentials)
            .field("token_url", &redacted(&self.token_url))
            .field("scope", &self.scope)
            .field("tcloud_home", &self.tcloud_home)
            .field("ca_file", &self.ca_file)
            .field("cache_dir", &self.cache_dir)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .finish()
    }
}
