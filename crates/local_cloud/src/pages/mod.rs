//! The pages that the links lead to: HTML rendered on the server, without scripts, for people in search of a cause.

mod activity;
mod debugger;
mod environment;
mod index;
mod model;

mod definition;
mod facts;
mod rows;
mod scope;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::links::Links;
use crate::store::{Store, StoreError};

/// What the pages need.
#[derive(Clone)]
pub(crate) struct Pages {
    pub store: Arc<Store>,
    /// The links below the plain base URL.
    pub root: Links,
    pub links: Links,
    /// Where clients reach the server, for the page that shows how to set it up.
    pub base_url: Arc<str>,
    /// `seq` of the project that a request is about.
    pub project: i64,
    /// Its name, where pages should show it.
    pub project_label: Option<Arc<str>>,
}

pub(crate) fn routes(pages: Pages) -> Router {
    Router::new()
        .route("/", get(index::show))
        .route("/style.css", get(stylesheet))
        .route("/environments/{environment}", get(environment::show))
        .route("/environments/{environment}/models/{name}", get(model::show))
        .route("/environments/{environment}/runs/{id}", get(activity::show_run))
        .route("/environments/{environment}/plans/{id}", get(activity::show_plan))
        .with_state(pages)
}

/// A page that says so and leads back to the start.
pub(crate) fn not_found(pages: &Pages, message: &str) -> Response {
    problem(pages, StatusCode::NOT_FOUND, "Not found", message)
}

/// What surrounds every page.
struct Frame {
    title: String,
    /// The start page of the server.
    root: String,
    /// The start page of the project.
    home: String,
    project: Option<Arc<str>>,
    stylesheet: String,
    crumbs: Vec<Link>,
    /// Reloads while something is in progress.
    refresh: bool,
}

/// A text with a URL.
struct Link {
    text: String,
    url: String,
}

impl Link {
    fn new(text: impl Into<String>, url: String) -> Self {
        let text = text.into();
        Self { text, url }
    }
}

impl Frame {
    fn new(pages: &Pages, title: impl Into<String>, crumbs: Vec<Link>) -> Self {
        Self {
            title: title.into(),
            root: pages.root.index(),
            home: pages.links.index(),
            project: pages.project_label.clone(),
            stylesheet: pages.root.stylesheet(),
            crumbs,
            refresh: false,
        }
    }
}

/// Why there is no page.
enum PageError {
    NotFound(String),
    Broken(StoreError),
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Broken(error)
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    title: &'a str,
    message: &'a str,
}

fn problem(pages: &Pages, status: StatusCode, title: &str, message: &str) -> Response {
    let frame = Frame::new(pages, title, Vec::new());
    let page = ProblemPage { frame, title, message };
    (status, html(&page)).into_response()
}

fn answer(pages: &Pages, page: Result<impl Template, PageError>) -> Response {
    match page {
        Ok(page) => html(&page),
        Err(PageError::NotFound(message)) => not_found(pages, &message),
        Err(PageError::Broken(error)) => broken(pages, &error),
    }
}

/// The page for an error of the server's own.
fn broken(pages: &Pages, error: &StoreError) -> Response {
    tracing::error!("failed to {error}");
    problem(pages, StatusCode::INTERNAL_SERVER_ERROR, "Internal error", &format!("Failed to {error}."))
}

fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!("failed to render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn stylesheet() -> impl IntoResponse {
    let style = include_str!("../../templates/style.css");
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], style)
}
