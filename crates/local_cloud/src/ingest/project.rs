//! To which project an event belongs.

use rusqlite::Connection;

use super::EventError;
use super::event::Source;
use crate::store::{Project, name_of_segment, queries};

/// The project of an event, which becomes known with its first event. `base_url_project` is the one whose base URL the event
/// was sent to: it must not contradict a name that a person gave.
///
/// A name that nobody gave stands for one state database of SQLMesh: events from another one are refused rather than mixed in.
pub(super) fn find_or_create(
    connection: &Connection,
    source: &Source,
    base_url_project: Option<&str>,
) -> Result<i64, EventError> {
    if let Some(project) = find(connection, source, base_url_project)? {
        queries::update_project(connection, project.seq, &project.name, source.state.as_deref())?;
        return Ok(project.seq);
    }
    let name = name(source, base_url_project)?;
    let nameless = queries::project(connection, "")?;
    let state = source.state.as_deref();
    if let Some(nameless) = nameless.filter(|nameless| nameless.state.is_none() || nameless.state.as_deref() == state) {
        tracing::warn!("what was recorded without a project's name belongs to project {name:?} from now on");
        queries::update_project(connection, nameless.seq, name, state)?;
        return Ok(nameless.seq);
    }
    Ok(queries::insert_project(connection, name, state)?)
}

/// The same, unless the project is unknown.
pub(super) fn find(
    connection: &Connection,
    source: &Source,
    base_url_project: Option<&str>,
) -> Result<Option<Project>, EventError> {
    let name = name(source, base_url_project)?;
    let Some(project) = queries::project(connection, name)? else {
        return Ok(None);
    };
    let is_other_state = source.state.is_some() && project.state.is_some() && source.state != project.state;
    if is_other_state && !source.project_is_named {
        return Err(EventError::Refused(format!(
            "project '{name}' is already fed from another SQLMesh state: name the projects with TOBIKO_PROJECT_NAME"
        )));
    }
    Ok(Some(project))
}

fn name<'a>(source: &'a Source, base_url_project: Option<&'a str>) -> Result<&'a str, EventError> {
    let own = name_of_segment(&source.project);
    match base_url_project {
        Some(given) if source.project_is_named && given != own => Err(EventError::Refused(format!(
            "the events of project '{own}' were sent to the base URL of project '{given}'"
        ))),
        Some(given) => Ok(given),
        None => Ok(own),
    }
}
