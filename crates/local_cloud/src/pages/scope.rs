//! The pages for the project that a request is about, or a page to choose one.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::percent_decode_str;

use super::{Frame, Link, Pages, answer, broken, html, not_found};
use crate::projects::{self, InPath, Served};
use crate::store::{Kind, NO_PROJECT, Project, StoreError, queries};

/// [`Pages`] for the project that the request is about.
pub(super) struct ScopedPages(pub Pages);

#[derive(Template)]
#[template(path = "projects.html")]
struct ProjectsPage {
    frame: Frame,
    /// The address does not say which of them is meant.
    is_ambiguous: bool,
    projects: Vec<Link>,
}

impl FromRequestParts<Pages> for ScopedPages {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let served = projects::served(&pages.store, &parts.extensions).await;
        let is_in_path = parts.extensions.get::<InPath>().is_some();
        match served.map_err(|error| broken(pages, &error))? {
            Served::One(project) => {
                let links = if is_in_path { pages.links.project(&project) } else { pages.links.clone() };
                let is_shown = is_in_path || !project.name.is_empty();
                let project_label = is_shown.then(|| project.label().into());
                let store = Arc::clone(&pages.store);
                Ok(Self(Pages { store, links, project: project.seq, project_label, ..pages.clone() }))
            }
            Served::NothingYet => Ok(Self(Pages { project: NO_PROJECT, ..pages.clone() })),
            Served::Unknown(name) => {
                Err(not_found(pages, &format!("Nothing has been recorded of a project {name:?}.")))
            }
            Served::Several(projects) => Err(choose(parts, pages, &projects).await),
        }
    }
}

/// Links from before there were several projects name a run or plan: its project is known. Otherwise, a person chooses.
async fn choose(parts: &Parts, pages: &Pages, projects: &[Project]) -> Response {
    let below = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let at = |project: &Project| format!("{}{below}", pages.links.project(project).base());
    match project_of_activity(parts.uri.path(), pages).await {
        Ok(Some(seq)) => {
            if let Some(project) = projects.iter().find(|project| project.seq == seq) {
                return Redirect::temporary(&at(project)).into_response();
            }
        }
        Ok(None) => {}
        Err(error) => return broken(pages, &error),
    }
    let is_ambiguous = parts.uri.path() != "/";
    let page = ProjectsPage {
        frame: Frame::new(pages, "Projects", Vec::new()),
        is_ambiguous,
        projects: projects.iter().map(|project| Link::new(project.label(), at(project))).collect(),
    };
    if is_ambiguous { (StatusCode::MULTIPLE_CHOICES, html(&page)).into_response() } else { answer(pages, Ok(page)) }
}

async fn project_of_activity(path: &str, pages: &Pages) -> Result<Option<i64>, StoreError> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (kind, id) = match segments[..] {
        ["environments", _, "runs", id] => (Kind::Run, id),
        ["environments", _, "plans", id] => (Kind::Plan, id),
        _ => return Ok(None),
    };
    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
    let activity = pages.store.read(move |connection| queries::activity(connection, kind, &id)).await?;
    Ok(activity.map(|activity| activity.project))
}
