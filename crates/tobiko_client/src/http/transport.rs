//! The HTTP connections: TLS, certificates, redirects, time-outs, and what a failed exchange was. Proxies come from the
//! environment (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::error::Failure;
use crate::http::response::{CHECK_BASE_URL, RawResponse};
use crate::http::retry::retry_after;
use crate::urls::{redacted, same_origin};
use crate::{Error, Secret, Timeouts};

const MAX_REDIRECTS: usize = 10;

/// Of the responses that are read as a whole: a token, a page of a proxy, an error.
const MAX_BODY_BYTES: usize = 1 << 20;

/// One client for all calls, so that connections are used again. It follows no redirects by itself, see [`send`].
pub(crate) fn http_client(ca_file: Option<&Path>, timeouts: &Timeouts) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca_file)?)
        .redirect(Policy::none())
        .http1_only()
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .timeout(timeouts.request)
        .user_agent(concat!("tobiko-facade/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::Config(format!("cannot make an HTTP client: {}", root_cause(&error))))
}

/// The system's certificates and those of the file. None at all is no error here: plain HTTP needs none.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!("a certificate of the system cannot be loaded: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let wrong = |why: String| Error::Config(format!("TCLOUD_CA_FILE {} {why}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(format!("cannot be read as PEM certificates: {error}")))?;
        if certificates.is_empty() {
            return Err(wrong("holds no PEM certificate".to_owned()));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| wrong(format!("holds a certificate that cannot be used: {error}")))?;
        }
    }
    // The provider is named here, so that it does not matter what the process has installed as its default.
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Sends a request for `requested`, following redirects; the body is yet to be received. The bearer goes to the scheme, host and
/// port of `requested` and nowhere else. (reqwest drops it on the step to another host, but sends it again when that host redirects to itself.)
pub(crate) async fn send(
    client: &reqwest::Client,
    method: &Method,
    requested: &Url,
    bearer: &Secret,
) -> Result<Response, Failure> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", bearer.expose()))
        .map_err(|_| Error::Config("the token holds characters that cannot be sent".to_owned()))?;
    authorization.set_sensitive(true);
    let mut url = requested.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = client.request(method.clone(), url.clone());
        if same_origin(&url, requested) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| failure(&error, &url))?;
        match next(&response, &url)? {
            Some(next) => url = next,
            None => return Ok(response),
        }
    }
    Err(Error::UnexpectedResponse {
        url: redacted(requested),
        reason: "redirects in circles".to_owned(),
        remedy: CHECK_BASE_URL,
    }
    .into())
}

/// The response with its body, redirect or not. No more of it is read than is ever shown.
pub(crate) async fn read_whole(mut response: Response) -> Result<RawResponse, Failure> {
    let (status, url) = (response.status().as_u16(), response.url().clone());
    let retry_after = retry_after_of(&response);
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES
        && let Some(chunk) = response.chunk().await.map_err(|error| failure(&error, &url))?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse { status, url, retry_after, body })
}

/// The body of a response that may be large, chunk by chunk.
pub(crate) async fn read_chunks(mut response: Response, mut take: impl FnMut(&[u8])) -> Result<(), Failure> {
    let url = response.url().clone();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error, &url))? {
        take(&chunk);
    }
    Ok(())
}

/// Where a redirect leads; `None` when it is no redirect.
fn next(response: &Response, from: &Url) -> Result<Option<Url>, Error> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|header| std::str::from_utf8(header.as_bytes()).ok());
    let Some(next) = location.and_then(|location| from.join(location).ok()) else { return Ok(None) };
    let safe = next.scheme() == "https" || (next.scheme() == "http" && from.scheme() == "http");
    if !safe {
        let reason = format!("redirects to {}, which is not https", redacted(&next));
        return Err(Error::UnexpectedResponse { url: redacted(from), reason, remedy: CHECK_BASE_URL });
    }
    Ok(Some(next))
}

fn retry_after_of(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(header, SystemTime::now())
}

/// Why a request to `url` got no response.
pub(crate) fn failure(error: &reqwest::Error, url: &Url) -> Failure {
    let (url, cause) = (redacted(url), root_cause(error));
    if error.is_builder() {
        return Error::Config(format!("cannot send a request to {url}: {cause}")).into();
    }
    if is_untrusted(error) {
        let reason =
            format!("its certificate is not trusted ({cause}), set TCLOUD_CA_FILE if its authority is your own");
        return Error::Unreachable { url, reason }.into();
    }
    let reason = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_body() || error.is_decode() {
        format!("its response ended too early ({cause})")
    } else {
        cause
    };
    Failure::unreachable(url, reason)
}

/// A certificate that is not trusted will not be so a second later.
fn is_untrusted(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// The innermost reason, in lower case: the outer ones repeat the URL and say little.
fn root_cause(error: &reqwest::Error) -> String {
    let cause = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    let mut chars = cause.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // As a source, an I/O error leaves out what it holds and gives the source of that.
            Some(held) => Some(held as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
