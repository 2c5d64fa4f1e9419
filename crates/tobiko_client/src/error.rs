//! What can go wrong, with a variant only where a caller acts differently. Each message is one sentence that names the thing and
//! says what to do; none ever contains a secret.
use std::time::Duration;

/// A failure of a call. `Display` is one sentence, in lower case and without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A network failure, 5xx, 408 or 429, after all retries: the cloud may be back later.
    #[error("{url} is not available: {reason}; try again later, or check the URL and the network")]
    Unreachable { url: String, reason: String },
    /// 401 even after the token was refreshed, or a login that was rejected.
    #[error("{url} {reason}")]
    Unauthenticated { url: String, reason: String },
    /// 403: authenticated, but not allowed.
    #[error("{url} {reason}")]
    PermissionDenied { url: String, reason: String },
    /// The server at this URL does not answer as the V1 API does, or not as a token endpoint.
    #[error("{url} {reason}")]
    UnexpectedResponse { url: String, reason: String },
    /// The API understood the request and rejected it: 400, 422 and the like.
    #[error("{url} rejected the request with status {status}: {detail}")]
    BadRequest { url: String, status: u16, detail: String },
    /// The configuration cannot work, whatever the cloud answers.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// True when the same call with the same configuration may work later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
    }
}

/// How one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// May be better the next time. `error` is what the call fails with when there is no next time, `retry_after` the wait that the
    /// server asks for.
    Transient { error: Error, retry_after: Option<Duration> },
    /// Would be the same the next time.
    Permanent(Error),
}

impl Failure {
    /// The server at `url` is away, or was not there for the whole answer.
    pub fn unreachable(url: String, reason: impl Into<String>) -> Failure {
        Failure::Transient { error: Error::Unreachable { url, reason: reason.into() }, retry_after: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Permanent(error)
    }
}
