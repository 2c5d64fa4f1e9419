//! Runs and plans.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{Kind, Status};
use crate::moment::Moment;

/// A run or a plan.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    pub seq: i64,
    pub kind: Kind,
    pub id: String,
    pub environment: String,
    pub status: Status,
    pub start_at: Option<Moment>,
    pub end_at: Option<Moment>,
    pub error_message: Option<String>,
    pub heard_at: Moment,
}

/// Which of them, and in which order.
#[derive(Debug, Clone)]
pub(crate) struct ActivityFilter {
    pub kind: Kind,
    pub environment: Option<String>,
    /// Only what came after this one.
    pub after: Option<i64>,
    pub newest_first: bool,
    pub limit: u32,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Activity> {
    Ok(Activity {
        seq: row.get("seq")?,
        kind: row.get("kind")?,
        id: row.get("id")?,
        environment: row.get("environment")?,
        status: row.get("status")?,
        start_at: row.get("start_at")?,
        end_at: row.get("end_at")?,
        error_message: row.get("error_message")?,
        heard_at: row.get("heard_at")?,
    })
}

pub(crate) fn activity(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<Option<Activity>> {
    connection
        .prepare_cached("SELECT * FROM activity WHERE kind = ?1 AND id = ?2")?
        .query_row(params![kind, id], from_row)
        .optional()
}

/// In the order in which the server heard of them: a run that reaches it late, out of a recorder's spool, is news, and
/// who asks for what came after the last run that they know must not miss it.
pub(crate) fn activities(connection: &Connection, filter: &ActivityFilter) -> rusqlite::Result<Vec<Activity>> {
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT * FROM activity
         WHERE kind = :kind AND (:environment IS NULL OR environment = :environment) AND seq > :after
         ORDER BY seq {order} LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(
        named_params! {
            ":kind": filter.kind,
            ":environment": filter.environment,
            ":after": filter.after.unwrap_or(0),
            ":limit": filter.limit,
        },
        from_row,
    )?;
    found.collect()
}

/// Notes that it has started. It starts again when it had ended before `at`: a plan may be applied twice.
pub(crate) fn start_activity(
    connection: &Connection,
    kind: Kind,
    id: &str,
    environment: &str,
    at: Moment,
    now: Moment,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO activity (kind, id, environment, status, start_at, heard_at)
         VALUES (:kind, :id, :environment, 'in_progress', :at, :now)
         ON CONFLICT (kind, id) DO UPDATE SET
             start_at = min(coalesce(start_at, :at), :at),
             status = CASE WHEN end_at < :at THEN 'in_progress' ELSE status END,
             error_message = CASE WHEN end_at < :at THEN NULL ELSE error_message END,
             end_at = CASE WHEN end_at < :at THEN NULL ELSE end_at END,
             heard_at = :now",
    )?;
    statement.execute(named_params! {
        ":kind": kind, ":id": id, ":environment": environment, ":at": at, ":now": now,
    })?;
    Ok(())
}

/// Its end, as its own process tells it: that wins over an end that the server had to assume.
/// What was scheduled and never started goes.
pub(crate) fn end_activity(
    connection: &Connection,
    seq: i64,
    status: Status,
    error_message: Option<&str>,
    at: Moment,
    now: Moment,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE activity SET status = ?2, error_message = ?3, end_at = ?4, heard_at = ?5 WHERE seq = ?1",
        )?
        .execute(params![seq, status, error_message, at, now])?;
    connection.prepare_cached("DELETE FROM evaluation WHERE activity = ?1 AND status = 'scheduled'")?.execute([seq])?;
    Ok(())
}

/// Removes it with all its evaluations, as if it had never been.
pub(crate) fn forget_activity(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM evaluation WHERE activity = (SELECT seq FROM activity WHERE kind = ?1 AND id = ?2)",
        params![kind, id],
    )?;
    connection.execute("DELETE FROM activity WHERE kind = ?1 AND id = ?2", params![kind, id])?;
    Ok(())
}

/// Notes that its process is alive. Unknown ones are nobody's business yet.
pub(crate) fn hear(connection: &Connection, kind: Kind, id: &str, now: Moment) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE activity SET heard_at = ?3 WHERE kind = ?1 AND id = ?2")?
        .execute(params![kind, id, now])?;
    Ok(())
}

/// Takes everything that is open for alive.
pub(crate) fn hear_all(connection: &Connection, now: Moment) -> rusqlite::Result<()> {
    connection.execute("UPDATE activity SET heard_at = ?1 WHERE end_at IS NULL", [now])?;
    Ok(())
}

/// What is open and has not been heard of since.
pub(crate) fn silent_since(connection: &Connection, since: Moment) -> rusqlite::Result<Vec<Activity>> {
    let mut statement = connection.prepare_cached("SELECT * FROM activity WHERE end_at IS NULL AND heard_at < ?1")?;
    statement.query_map([since], from_row)?.collect()
}
