//! Which project a request is about: the one in its path, else the server's only one.
//!
//! `{server}/projects/{name}` is a base URL of its own: [`route`] removes that prefix and hands the rest to the same routes as
//! the plain base URL's, with the name as an extension of the request.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use percent_encoding::percent_decode_str;
use tower::ServiceExt;

use crate::store::{Project, Store, StoreError, name_of_segment, queries};

const PREFIX: &str = "/projects/";

/// The name of the project in a request's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InPath(pub String);

/// What a base URL serves.
#[derive(Debug)]
pub(crate) enum Served {
    One(Project),
    /// Nothing has been recorded yet.
    NothingYet,
    /// The plain base URL of a server with several projects.
    Several(Vec<Project>),
    /// The path names a project that the server does not know.
    Unknown(String),
}

/// What the request's base URL serves.
pub(crate) async fn served(store: &Arc<Store>, extensions: &Extensions) -> Result<Served, StoreError> {
    let mut projects = store.read(queries::projects).await?;
    let Some(InPath(name)) = extensions.get() else {
        return Ok(match (projects.len(), projects.pop()) {
            (_, None) => Served::NothingYet,
            (1, Some(only)) => Served::One(only),
            (_, Some(last)) => {
                projects.push(last);
                Served::Several(projects)
            }
        });
    };
    let named = projects.into_iter().find(|project| project.name == *name);
    Ok(named.map_or_else(|| Served::Unknown(name.clone()), Served::One))
}

/// A request's address below its project's base URL, and the base URL's path: `/projects/{name}`, or nothing.
pub fn below_project(uri: &Uri) -> (&str, Uri) {
    match split(uri) {
        Some((_, below)) => (&uri.path()[..prefix_len(uri.path())], below),
        None => ("", uri.clone()),
    }
}

/// `routes`, and the same below `/projects/{name}`.
pub(crate) fn route(routes: Router) -> Router {
    let below = routes.clone();
    let enter = move |request: Request| enter(below.clone(), request);
    routes
        .route("/projects/{project}", any(enter.clone()))
        .route("/projects/{project}/{*rest}", any(enter.clone()))
        .route("/projects/{project}/", any(enter))
}

async fn enter(routes: Router, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some((name, uri)) = split(&parts.uri) {
        parts.uri = uri;
        // Without what the outer routes have matched.
        parts.extensions = Extensions::new();
        parts.extensions.insert(InPath(name));
    }
    routes.oneshot(Request::from_parts(parts, body)).await.into_response()
}

/// The project's name, and what is left of the address below it.
fn split(uri: &Uri) -> Option<(String, Uri)> {
    let path_and_query = uri.path_and_query()?.as_str();
    let (prefix, below) = path_and_query.split_at(prefix_len(path_and_query));
    let segment = prefix.strip_prefix(PREFIX)?;
    let segment = percent_decode_str(segment).decode_utf8_lossy();
    let below = if below.starts_with('/') { below.to_owned() } else { format!("/{below}") };
    Some((name_of_segment(&segment).to_owned(), below.parse().ok()?))
}

/// How much of a path is `/projects/{name}`.
fn prefix_len(path: &str) -> usize {
    path.strip_prefix(PREFIX).map_or(0, |rest| PREFIX.len() + rest.find(['/', '?']).unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_split_off_as_it_was_sent() {
        let check = |uri: &str, name: &str, below: &str| {
            let split = split(&uri.parse().expect("a URI"));
            assert_eq!(split, Some((name.to_owned(), below.parse().expect("a URI"))), "{uri}");
        };
        check("/projects/shop/api/v1/dags/a%2Fb?x=%20", "shop", "/api/v1/dags/a%2Fb?x=%20");
        check("/projects/default", "", "/");
        check("/projects/a%2Bb%3Agw/", "a+b:gw", "/");
        check("/projects/a+b?x=1", "a+b", "/?x=1");
        assert_eq!(split(&"/projects".parse().expect("a URI")), None);
    }

    #[test]
    fn an_address_is_below_its_project() {
        let check = |uri: &str, base: &str, below: &str| {
            let uri: Uri = uri.parse().expect("a URI");
            assert_eq!(below_project(&uri), (base, below.parse().expect("a URI")), "{uri}");
        };
        check("/projects/a%2Bb/api/v1/runs?limit=1", "/projects/a%2Bb", "/api/v1/runs?limit=1");
        check("/projects/shop?x=1", "/projects/shop", "/?x=1");
        check("/api/v1/runs?limit=1", "", "/api/v1/runs?limit=1");
    }
}
