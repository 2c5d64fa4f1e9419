//! What can go wrong, cut where a caller acts differently. Each message is one sentence that names the thing and says what
//! to do; none ever holds a secret.

/// A failure of a call. `Display` is one sentence, in lower case and without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Network trouble, 5xx, 408 or 429, after all retries: the cloud may be back later.
    #[error("{url} is not available: {reason}; try again later, or check the URL and the network")]
    Unreachable { url: String, reason: String },
    /// 401 also with a new token, 403, or a login that was refused.
    #[error("{url} {reason}")]
    NotLetIn { url: String, reason: String },
    /// What answers at this URL is not the V1 API, or not a token endpoint.
    #[error("{url} {reason}")]
    NotTheApi { url: String, reason: String },
    /// The API understood the request and said no: 400, 422 and the like.
    #[error("{url} refused the request with status {status}: {detail}")]
    Refused { url: String, status: u16, detail: String },
    /// The settings cannot work, whatever the cloud says.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// True when the same call with the same settings may work later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
    }
}

/// How one attempt failed. Only `retry` turns the first kind into an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// May pass by itself; `wait` is what the server asked for.
    Passing { url: String, reason: String, wait: Option<std::time::Duration> },
    /// Would be the same the next time.
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Lasting(error)
    }
}
