//! Plans in the order in which they ended, and the nodes that a run intends to evaluate.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::activities::{self, Activity};
use super::dags::{from_json, to_json};

/// A plan, with what is only asked of plans.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub activity: Activity,
    /// Order in which plans ended; `None` while it is open.
    pub ended_seq: Option<i64>,
    pub evaluations: i64,
}

/// Which ended plans, and in which order.
#[derive(Debug, Clone)]
pub(crate) struct PlanFilter {
    pub project: i64,
    pub environment: Option<String>,
    /// Only those that ended after the plan with this `ended_seq`.
    pub since_seq: i64,
    pub newest_first: bool,
    pub limit: u32,
}

const SELECT: &str = "SELECT activity.*, plan_end.seq AS ended_seq,
         (SELECT count(*) FROM evaluation WHERE evaluation.activity = activity.seq) AS evaluations
     FROM activity LEFT JOIN plan_end ON plan_end.activity = activity.seq
     WHERE activity.kind = 'plan' AND NOT activity.is_hidden";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Plan> {
    Ok(Plan {
        activity: activities::from_row(row)?,
        ended_seq: row.get("ended_seq")?,
        evaluations: row.get("evaluations")?,
    })
}

pub(crate) fn ended_plans(connection: &Connection, filter: &PlanFilter) -> rusqlite::Result<Vec<Plan>> {
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "{SELECT} AND activity.project = :project AND (:environment IS NULL OR activity.environment = :environment)
             AND plan_end.seq > :since ORDER BY plan_end.seq {order} LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(
        named_params! {
            ":project": filter.project,
            ":environment": filter.environment,
            ":since": filter.since_seq,
            ":limit": filter.limit,
        },
        from_row,
    )?;
    found.collect()
}

/// One plan, open or ended.
pub(crate) fn plan(connection: &Connection, project: i64, id: &str) -> rusqlite::Result<Option<Plan>> {
    connection
        .prepare_cached(&format!("{SELECT} AND activity.project = ?1 AND activity.id = ?2"))?
        .query_row(params![project, id], from_row)
        .optional()
}

/// Adds to the nodes that a run intends to evaluate: SQLMesh may schedule anew within one run.
pub(crate) fn add_due_nodes(connection: &Connection, activity: i64, names: &[String]) -> rusqlite::Result<()> {
    let mut all = due_nodes(connection, activity)?.unwrap_or_default();
    let known: std::collections::HashSet<String> = all.iter().cloned().collect();
    all.extend(names.iter().filter(|name| !known.contains(*name)).cloned());
    connection
        .prepare_cached("INSERT OR REPLACE INTO due_nodes VALUES (?1, ?2)")?
        .execute(params![activity, to_json(&all)])?;
    Ok(())
}

/// The nodes that a run intends to evaluate; `None`: not known.
pub(crate) fn due_nodes(connection: &Connection, activity: i64) -> rusqlite::Result<Option<Vec<String>>> {
    connection
        .prepare_cached("SELECT node_names FROM due_nodes WHERE activity = ?1")?
        .query_row([activity], |row| from_json(row, "node_names"))
        .optional()
}
