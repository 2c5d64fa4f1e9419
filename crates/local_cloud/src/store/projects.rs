//! The SQLMesh projects that the server holds, and to which of them an event belongs.

use rusqlite::{Connection, OptionalExtension, Row, params};

/// `seq` of no project: its queries find nothing.
pub(crate) const NO_PROJECT: i64 = 0;

/// The path segment of the project without a name.
const NAMELESS_SEGMENT: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub seq: i64,
    /// Empty for the nameless one.
    pub name: String,
    /// Identifies SQLMesh's state database.
    pub state: Option<String>,
}

impl Project {
    /// As pages show it, and as a path segment before it is encoded.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { NAMELESS_SEGMENT } else { &self.name }
    }
}

/// The project that a segment of a path names; "default" is the nameless one.
pub(crate) fn name_of_segment(segment: &str) -> &str {
    if segment == NAMELESS_SEGMENT { "" } else { segment }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Project> {
    Ok(Project { seq: row.get("seq")?, name: row.get("name")?, state: row.get("state")? })
}

/// All of them, by name.
pub(crate) fn projects(connection: &Connection) -> rusqlite::Result<Vec<Project>> {
    let mut statement = connection.prepare_cached("SELECT * FROM project ORDER BY name")?;
    statement.query_map([], from_row)?.collect()
}

pub(crate) fn project(connection: &Connection, name: &str) -> rusqlite::Result<Option<Project>> {
    connection.prepare_cached("SELECT * FROM project WHERE name = ?1")?.query_row([name], from_row).optional()
}

pub(crate) fn insert_project(connection: &Connection, name: &str, state: Option<&str>) -> rusqlite::Result<i64> {
    connection.prepare_cached("INSERT INTO project (name, state) VALUES (?1, ?2)")?.execute(params![name, state])?;
    Ok(connection.last_insert_rowid())
}

/// Gives a project its name, and its state if it is known by now.
pub(crate) fn update_project(
    connection: &Connection,
    seq: i64,
    name: &str,
    state: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE project SET name = ?2, state = coalesce(state, ?3) WHERE seq = ?1")?
        .execute(params![seq, name, state])?;
    Ok(())
}
