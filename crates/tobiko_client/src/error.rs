//! What can go wrong, with a variant only where a caller acts differently. Each message is one sentence that names the thing and
//! says what to do; none ever contains a secret.
use std::time::Duration;

/// A failure of a call. `Display` is one sentence, in lower case and without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A network failure, 5xx, 408 or 429, after all retries: the cloud may be back later. So is a response that is not the API's once
    /// there were good ones: a proxy's page for the time of a maintenance, for instance.
    #[error("{url} is not available: {reason}; try again later, or check the URL and the network")]
    Unreachable { url: String, reason: String },
    /// 401 even after the token was refreshed, or a login that was rejected.
    #[error("{url} {reason}")]
    Unauthenticated { url: String, reason: String },
    /// 403: authenticated, but not allowed.
    #[error("{url} {reason}")]
    PermissionDenied { url: String, reason: String },
    /// The server at this URL does not answer as the V1 API does, or not as a token endpoint, and never did: also when asked
    /// once more, and without a good response before.
    #[error("{url} {reason}: {remedy}")]
    UnexpectedResponse { url: String, reason: String, remedy: &'static str },
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
    /// There is nothing at this path, and the server does not say so as the API would: the base URL is wrong, unless it was right before.
    NoApi(Error),
    /// Would be the same the next time.
    Permanent(Error),
}

impl Failure {
    /// The server at `url` is away, or was not there for the whole answer.
    pub fn unreachable(url: String, reason: impl Into<String>) -> Failure {
        Failure::Transient { error: Error::Unreachable { url, reason: reason.into() }, retry_after: None }
    }

    /// A response that is not the API's passes where it is a proxy's page. `was_good`: there were good responses before, so that the
    /// base URL is not to blame.
    pub fn of_unexpected_response(self, was_good: bool) -> Failure {
        match self {
            Failure::Permanent(Error::UnexpectedResponse { url, reason, .. })
            | Failure::NoApi(Error::UnexpectedResponse { url, reason, .. })
                if was_good =>
            {
                Failure::unreachable(url, format!("it {reason}"))
            }
            Failure::Permanent(error @ Error::UnexpectedResponse { .. }) => {
                Failure::Transient { error, retry_after: None }
            }
            failure => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Permanent(error)
    }
}
