//! Runs and plans.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{Kind, Status};
use crate::timestamp::Timestamp;

/// A run or a plan.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    pub seq: i64,
    pub project: i64,
    pub kind: Kind,
    pub id: String,
    pub environment: String,
    pub status: Status,
    pub start_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    pub error_message: Option<String>,
    pub last_heartbeat_at: Timestamp,
    /// No list shows it: its environment was deleted.
    pub is_hidden: bool,
}

/// Which of them, and in which order.
#[derive(Debug, Clone)]
pub(crate) struct ActivityFilter {
    pub project: i64,
    pub kind: Kind,
    pub environment: Option<String>,
    /// Only those with a larger `seq`.
    pub after: Option<i64>,
    pub newest_first: bool,
    pub limit: u32,
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Activity> {
    Ok(Activity {
        seq: row.get("seq")?,
        project: row.get("project")?,
        kind: row.get("kind")?,
        id: row.get("id")?,
        environment: row.get("environment")?,
        status: row.get("status")?,
        start_at: row.get("start_at")?,
        end_at: row.get("end_at")?,
        error_message: row.get("error_message")?,
        last_heartbeat_at: row.get("last_heartbeat_at")?,
        is_hidden: row.get("is_hidden")?,
    })
}

/// Ids are unique across projects, since they are random.
pub(crate) fn activity(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<Option<Activity>> {
    connection
        .prepare_cached("SELECT * FROM activity WHERE kind = ?1 AND id = ?2")?
        .query_row(params![kind, id], from_row)
        .optional()
}

/// In the order in which the server came to know them: a run that reaches it late, out of a recorder's spool, is new to a
/// client that has seen the runs before it.
pub(crate) fn activities(connection: &Connection, filter: &ActivityFilter) -> rusqlite::Result<Vec<Activity>> {
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT * FROM activity
         WHERE project = :project AND NOT is_hidden AND kind = :kind
           AND (:environment IS NULL OR environment = :environment) AND seq > :after
         ORDER BY seq {order} LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(
        named_params! {
            ":project": filter.project,
            ":kind": filter.kind,
            ":environment": filter.environment,
            ":after": filter.after.unwrap_or(0),
            ":limit": filter.limit,
        },
        from_row,
    )?;
    found.collect()
}

/// The start of a run or plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewActivity<'a> {
    pub project: i64,
    pub kind: Kind,
    pub id: &'a str,
    pub environment: &'a str,
}

/// Stores its start. It starts again when it had ended before `at`: a plan may be applied twice.
pub(crate) fn start_activity(
    connection: &Connection,
    new: NewActivity<'_>,
    at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO activity (project, kind, id, environment, status, start_at, last_heartbeat_at)
         VALUES (:project, :kind, :id, :environment, 'in_progress', :at, :now)
         ON CONFLICT (kind, id) DO UPDATE SET
             start_at = min(coalesce(start_at, :at), :at),
             status = CASE WHEN end_at < :at THEN 'in_progress' ELSE status END,
             error_message = CASE WHEN end_at < :at THEN NULL ELSE error_message END,
             is_hidden = CASE WHEN end_at < :at THEN 0 ELSE is_hidden END,
             end_at = CASE WHEN end_at < :at THEN NULL ELSE end_at END,
             last_heartbeat_at = :now",
    )?;
    statement.execute(named_params! {
        ":project": new.project, ":kind": new.kind, ":id": new.id, ":environment": new.environment, ":at": at, ":now": now,
    })?;
    connection
        .prepare_cached(
            "DELETE FROM plan_end WHERE activity =
                 (SELECT seq FROM activity WHERE kind = ?1 AND id = ?2 AND end_at IS NULL)",
        )?
        .execute(params![new.kind, new.id])?;
    Ok(())
}

/// Stores its end. The end that its own process reports replaces one that the server had to assume.
/// Evaluations that were scheduled and never started are deleted.
pub(crate) fn end_activity(
    connection: &Connection,
    seq: i64,
    status: Status,
    error_message: Option<&str>,
    at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE activity SET status = ?2, error_message = ?3, end_at = ?4, last_heartbeat_at = ?5 WHERE seq = ?1",
        )?
        .execute(params![seq, status, error_message, at, now])?;
    connection.prepare_cached("DELETE FROM evaluation WHERE activity = ?1 AND status = 'scheduled'")?.execute([seq])?;
    // A new place in the order: whoever has seen the plan end otherwise sees it again.
    connection.prepare_cached("DELETE FROM plan_end WHERE activity = ?1")?.execute([seq])?;
    connection
        .prepare_cached("INSERT INTO plan_end (activity) SELECT seq FROM activity WHERE seq = ?1 AND kind = 'plan'")?
        .execute([seq])?;
    Ok(())
}

/// Deletes it with all its evaluations.
pub(crate) fn delete_activity(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM evaluation WHERE activity = (SELECT seq FROM activity WHERE kind = ?1 AND id = ?2)",
        params![kind, id],
    )?;
    connection.execute("DELETE FROM activity WHERE kind = ?1 AND id = ?2", params![kind, id])?;
    Ok(())
}

/// Stores that its process is alive. Unknown ones are ignored.
pub(crate) fn record_heartbeat(connection: &Connection, kind: Kind, id: &str, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE activity SET last_heartbeat_at = ?3 WHERE kind = ?1 AND id = ?2")?
        .execute(params![kind, id, now])?;
    Ok(())
}

/// Gives everything that is open a heartbeat.
pub(crate) fn record_all_heartbeats(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection.execute("UPDATE activity SET last_heartbeat_at = ?1 WHERE end_at IS NULL", [now])?;
    Ok(())
}

/// What is open and has sent no heartbeat since.
pub(crate) fn without_heartbeat_since(connection: &Connection, since: Timestamp) -> rusqlite::Result<Vec<Activity>> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM activity WHERE end_at IS NULL AND last_heartbeat_at < ?1")?;
    statement.query_map([since], from_row)?.collect()
}
