//! `GET /info`: the version and the projects, which Tobiko Cloud does not say.

use axum::Json;
use axum::extract::State;
use axum::http::Extensions;
use tobiko_api::{Info, Project};

use super::{Api, ApiError, unknown_project};
use crate::projects::{self, Served};
use crate::store::queries;

pub(super) async fn show(State(api): State<Api>, extensions: Extensions) -> Result<Json<Info>, ApiError> {
    let project = match projects::served(&api.store, &extensions).await? {
        Served::One(project) => Some(project.name),
        Served::NothingYet | Served::Several(_) => None,
        Served::Unknown(name) => return Err(unknown_project(&name)),
    };
    let projects = api.store.read(queries::projects).await?.into_iter();
    let projects = projects.map(|project| Project { base_url: api.links.project(&project).base(), name: project.name });
    Ok(Json(Info { version: crate::VERSION.to_owned(), project, projects: projects.collect() }))
}
