//! Environments as a whole: which there are, and how one is forgotten.

use rusqlite::{Connection, OptionalExtension, params};

use crate::timestamp::Timestamp;

/// An environment that the server knows.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentRow {
    pub name: String,
    /// Nodes of its DAG; none before a plan has finalized it.
    pub nodes: i64,
}

/// Every environment with a DAG, a run or a plan, by name.
pub(crate) fn environments(connection: &Connection, project: i64) -> rusqlite::Result<Vec<EnvironmentRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT known.environment AS name,
                (SELECT count(*) FROM dag_node WHERE dag_node.dag =
                    (SELECT max(dag.seq) FROM dag
                     WHERE dag.project = ?1 AND dag.environment = known.environment)) AS nodes
         FROM (SELECT environment FROM dag WHERE project = ?1
               UNION SELECT environment FROM activity WHERE project = ?1 AND NOT is_hidden) AS known
         ORDER BY known.environment",
    )?;
    let found = statement
        .query_map([project], |row| Ok(EnvironmentRow { name: row.get("name")?, nodes: row.get("nodes")? }))?;
    found.collect()
}

pub(crate) fn environment_exists(connection: &Connection, project: i64, environment: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM dag WHERE project = ?1 AND environment = ?2)
                 OR EXISTS (SELECT 1 FROM activity WHERE project = ?1 AND environment = ?2 AND NOT is_hidden)",
        )?
        .query_row(params![project, environment], |row| row.get(0))
}

/// Deletes an environment's DAGs, runs and plans. What another environment still shows stays: evaluations of its nodes'
/// versions, and hidden from all lists the runs and plans that made them. Returns whether there was such an environment.
pub(crate) fn forget_environment(connection: &Connection, project: i64, environment: &str) -> rusqlite::Result<bool> {
    let existed = environment_exists(connection, project, environment)?;
    let of_it = params![project, environment];
    connection.execute("DELETE FROM dag WHERE project = ?1 AND environment = ?2", of_it)?;
    connection.execute(
        "DELETE FROM evaluation
         WHERE activity IN (SELECT seq FROM activity WHERE project = ?1 AND environment = ?2)
           AND NOT EXISTS (SELECT 1 FROM dag_node JOIN dag ON dag.seq = dag_node.dag
                           WHERE dag_node.name = evaluation.node_name AND dag_node.version = evaluation.version
                             AND dag.project = ?1)",
        of_it,
    )?;
    connection.execute(
        "DELETE FROM activity WHERE project = ?1 AND environment = ?2
           AND NOT EXISTS (SELECT 1 FROM evaluation WHERE evaluation.activity = activity.seq)",
        of_it,
    )?;
    connection.execute("UPDATE activity SET is_hidden = 1 WHERE project = ?1 AND environment = ?2", of_it)?;
    Ok(existed)
}

/// What [`forget_environment`] does, for an environment that SQLMesh deleted at `at`. One that has been planned again since
/// stays.
pub(crate) fn delete_environment(
    connection: &Connection,
    project: i64,
    environment: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let planned_at: Option<Timestamp> = connection
        .prepare_cached("SELECT max(at) FROM dag WHERE project = ?1 AND environment = ?2")?
        .query_row(params![project, environment], |row| row.get(0))?;
    if planned_at.is_some_and(|planned_at| planned_at > at) {
        return Ok(());
    }
    forget_environment(connection, project, environment)?;
    connection
        .prepare_cached(
            "INSERT INTO environment_deletion VALUES (?1, ?2, ?3)
             ON CONFLICT (project, environment) DO UPDATE SET at = max(at, excluded.at)",
        )?
        .execute(params![project, environment, at])?;
    Ok(())
}

/// When SQLMesh deleted the environment last.
pub(crate) fn deleted_at(
    connection: &Connection,
    project: i64,
    environment: &str,
) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT at FROM environment_deletion WHERE project = ?1 AND environment = ?2")?
        .query_row(params![project, environment], |row| row.get(0))
        .optional()
}
