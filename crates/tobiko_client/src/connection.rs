//! One server: its base URL, the HTTP connections to it, the authentication, and what is known of it.
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use tobiko_api::records::{Record, RecordReader, Records};
use url::Url;

use crate::auth::Auth;
use crate::error::Failure;
use crate::http::response::{ApiResponse, has_records, read, records};
use crate::http::retry::retry;
use crate::http::transport::{http_client, read_chunks, read_whole, send};
use crate::urls::{call_url, redacted, validated};
use crate::{ClientConfig, Error, RetryConfig, Secret};

/// So many bearers may be rejected in one try: the cached one, the one of another process, a new one.
const MAX_BEARERS: u32 = 3;

/// What the responses of a local cloud carry, with its version.
const LOCAL_CLOUD_HEADER: &str = "x-tobiko-local-cloud";

/// What is sent.
pub(crate) struct Call {
    method: Method,
    url: Url,
    /// Only a local cloud has this call: other servers may respond to it in any way.
    is_of_local_cloud: bool,
}

/// Sends calls, with authentication and retries.
pub(crate) struct Connection {
    base_url: Url,
    retry: RetryConfig,
    http: reqwest::Client,
    auth: Auth,
    requests: AtomicU64,
    fetching_us: AtomicU64,
    is_local_cloud: AtomicBool,
    /// There was a good response: the base URL is right.
    was_good: AtomicBool,
}

impl Call {
    pub fn get(url: Url) -> Call {
        Call { method: Method::GET, url, is_of_local_cloud: false }
    }

    pub fn of_local_cloud(method: Method, url: Url) -> Call {
        Call { method, url, is_of_local_cloud: true }
    }
}

impl Connection {
    pub fn new(config: ClientConfig) -> Result<Connection, Error> {
        let http = http_client(config.ca_file.as_deref(), &config.timeouts)?;
        Ok(Connection {
            base_url: validated(&config.base_url, "TCLOUD_BASE_URL")?,
            auth: Auth::new(&config, &http)?,
            retry: config.retry,
            http,
            requests: AtomicU64::new(0),
            fetching_us: AtomicU64::new(0),
            is_local_cloud: AtomicBool::new(false),
            was_good: AtomicBool::new(false),
        })
    }

    pub fn is_local_cloud(&self) -> bool {
        self.is_local_cloud.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn fetching(&self) -> Duration {
        Duration::from_micros(self.fetching_us.load(Ordering::Relaxed))
    }

    /// The URL of a call; `None` when it can name nothing.
    pub fn url<const N: usize>(&self, segments: &[&str], parameters: [(&str, Option<String>); N]) -> Option<Url> {
        call_url(&self.base_url, segments, parameters)
    }

    /// One call with its retries; `None`: the API knows no such thing.
    pub async fn records<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        collection: &impl Fn() -> C,
    ) -> Result<Option<Records<C>>, Error> {
        let attempt = async || {
            let result = self.try_once(call, collection).await;
            result.map_err(|failure| failure.of_unexpected_response(self.was_good.load(Ordering::Relaxed)))
        };
        retry(self.retry, &redacted(&call.url), attempt).await
    }

    /// One try; a bearer that is rejected is replaced within it.
    async fn try_once<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        collection: &impl Fn() -> C,
    ) -> Result<Option<Records<C>>, Failure> {
        let mut bearer = self.auth.bearer(None).await?;
        let mut bearers = 1;
        loop {
            let detail = match self.request::<T, C>(call, &bearer.secret, collection).await? {
                ApiResponse::Records(records) => return Ok(Some(records)),
                ApiResponse::Empty => return Ok(Some(Records::none(collection()))),
                ApiResponse::NotFound => return Ok(None),
                ApiResponse::Unauthenticated(detail) => detail,
            };
            if bearer.is_last || bearers == MAX_BEARERS {
                return Err(self.auth.unauthenticated(redacted(&call.url), &detail));
            }
            bearer = self.auth.bearer(Some(&bearer.secret)).await?;
            bearers += 1;
        }
    }

    /// One request.
    async fn request<T: Record, C: Extend<T>>(
        &self,
        call: &Call,
        bearer: &Secret,
        collection: &impl Fn() -> C,
    ) -> Result<ApiResponse<C>, Failure> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let Call { method, url, .. } = call;
        let response = send(&self.http, method, url, bearer).await?;
        if response.headers().contains_key(LOCAL_CLOUD_HEADER) {
            self.is_local_cloud.store(true, Ordering::Relaxed);
        }
        let status = response.status().as_u16();
        let (result, size) = if has_records(status) {
            let (from, mut body) = (response.url().clone(), RecordReader::new(collection()));
            read_chunks(response, |chunk| body.feed(chunk)).await?;
            let size = body.size();
            (records(status, &from, body, bearer), size)
        } else {
            let response = read_whole(response).await?;
            (read(&response, url, bearer), response.body.len())
        };
        let took = started.elapsed();
        self.fetching_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tracing::debug!("{method} {url}: {status} with {size} bytes in {:.3} s", took.as_secs_f64());
        if matches!(result, Ok(ApiResponse::Records(_) | ApiResponse::Empty | ApiResponse::NotFound)) {
            self.was_good.store(true, Ordering::Relaxed);
        }
        match result {
            Err(Failure::Permanent(_) | Failure::NoApi(_)) if call.is_of_local_cloud && !self.is_local_cloud() => {
                Ok(ApiResponse::NotFound)
            }
            result => result,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("base_url", &self.base_url.as_str())
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
