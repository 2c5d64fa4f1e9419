//! All routes in one router: API, token endpoint, pages; compression, a log line for each request, safe headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;
use url::Url;

use crate::api::{self, Api, ApiError};
use crate::auth::{self, Authenticator};
use crate::links::Links;
use crate::pages::{self, Pages};
use crate::projects;
use crate::store::{NO_PROJECT, Store};

/// Where the server is reached, without a slash at the end: the public URL, else the listener's address. One that
/// listens on all addresses is reached at the loopback one.
pub fn base_url(public_url: Option<&Url>, listener: SocketAddr) -> String {
    let own = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    match public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{own}:{}", listener.port()),
    }
}

pub(crate) fn routes(
    store: Arc<Store>,
    authenticator: Arc<Authenticator>,
    public_url: Option<&Url>,
    base_url: &str,
) -> Router {
    let path = public_url.map_or("", Url::path);
    let links = Links::below(path);
    let pages = Pages {
        store: Arc::clone(&store),
        root: links.clone(),
        links,
        base_url: base_url.into(),
        project: NO_PROJECT,
        project_label: None,
    };
    let api = Api { store: Arc::clone(&store), links: Links::below(base_url), project: NO_PROJECT };
    let guarded = middleware::from_fn_with_state(Arc::clone(&authenticator), auth::require_bearer);
    let login = middleware::from_fn_with_state(Arc::clone(&authenticator), auth::require_login);
    let fallback = pages.clone();
    let routes = api::routes(api)
        .route_layer(guarded)
        .route("/auth/token", post(auth::token_endpoint).with_state(authenticator))
        .route("/healthz", get(health).with_state(store))
        .merge(pages::routes(pages).route_layer(login))
        .fallback(move |uri: Uri| not_found(fallback, uri))
        .method_not_allowed_fallback(method_not_allowed);
    projects::route(routes)
}

pub(crate) fn with_layers(routes: Router) -> Router {
    routes
        .layer(middleware::from_fn(with_safe_headers))
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http())
}

async fn health(State(store): State<Arc<Store>>) -> Response {
    match store.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await {
        Ok(()) => Json(json!({"status": "ok"})).into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// JSON for programs, a page for people.
async fn not_found(pages: Pages, uri: Uri) -> Response {
    let path = uri.path();
    if ["/api/", "/auth/", "/recorder/"].iter().any(|start| path.starts_with(start)) {
        ApiError::new(StatusCode::NOT_FOUND, format!("there is no endpoint {path}")).into_response()
    } else {
        pages::not_found(&pages, "This page does not exist.")
    }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let detail = format!("{} does not support {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Says that the API is not Tobiko Cloud's own.
const LOCAL_CLOUD: HeaderName = HeaderName::from_static("x-tobiko-local-cloud");

/// The pages need no script, no frame and nothing from elsewhere; nothing here may be cached, since all of it changes.
async fn with_safe_headers(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().contains("/api/v1/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if is_api {
        headers.insert(LOCAL_CLOUD, HeaderValue::from_static(crate::VERSION));
    }
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_one_that_works() {
        let check = |public: Option<&str>, listener: &str, expected: &str| {
            let public = public.map(|url| url.parse().expect("a URL"));
            let listener = listener.parse().expect("an address");
            assert_eq!(base_url(public.as_ref(), listener), expected);
        };
        check(None, "127.0.0.1:8765", "http://127.0.0.1:8765");
        check(None, "0.0.0.0:1", "http://127.0.0.1:1");
        check(None, "[::]:1", "http://[::1]:1");
        check(None, "10.1.2.3:80", "http://10.1.2.3:80");
        check(Some("https://h/cloud/"), "0.0.0.0:1", "https://h/cloud");
    }
}
