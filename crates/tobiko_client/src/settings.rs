//! What a client is made from. Reading flags and environment variables is left to the caller.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::Secret;
use crate::address::shown;

/// The `tcloud` command line tool's own public OAuth client, under which its users log in.
pub const TCLOUD_TOOL_CLIENT_ID: &str = "f695a000-bc5b-43c2-bcb7-8e0179ddff0c";

/// Everything that a [`crate::Client`] needs to know.
#[derive(Clone)]
pub struct Settings {
    /// With a path, with or without a trailing slash; `/api/v1` hangs below it.
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
    pub limits: Limits,
}

/// Who asks.
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

/// Time-outs and retries. `max_tries` counts the first try; `total` bounds one call with all its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connect_timeout: Duration,
    /// Longest silence between two pieces of an answer.
    pub read_timeout: Duration,
    /// One request, from sending it to the last byte of its answer.
    pub request_timeout: Duration,
    pub max_tries: u32,
    pub first_delay: Duration,
    pub longest_delay: Duration,
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(120),
            max_tries: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(10),
            total: Duration::from_secs(180),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs are shown without a password that a user may have put there.
        f.debug_struct("Settings")
            .field("base_url", &shown(&self.base_url))
            .field("credentials", &self.credentials)
            .field("token_url", &shown(&self.token_url))
            .field("scope", &self.scope)
            .field("tcloud_home", &self.tcloud_home)
            .field("ca_file", &self.ca_file)
            .field("cache_dir", &self.cache_dir)
            .field("limits", &self.limits)
            .finish()
    }
}
