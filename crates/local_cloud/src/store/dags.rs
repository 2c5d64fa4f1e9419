//! The DAGs of the environments, one for each change.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::environments::deleted_at;
use super::{NodeType, SourceType};
use crate::timestamp::Timestamp;

/// How many DAGs of an environment are kept.
const KEPT: u32 = 100;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dag {
    pub project: i64,
    pub environment: String,
    pub plan_id: Option<String>,
    /// Since when the environment has it.
    pub at: Timestamp,
    pub start_at: Timestamp,
    pub schedule_cron: String,
    pub schedule_seconds: i64,
    pub nodes: Vec<Node>,
}

/// A model or a standalone audit, in one version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub name: String,
    pub version: String,
    pub model_name: String,
    pub description: Option<String>,
    pub source_type: SourceType,
    pub node_type: NodeType,
    pub tags: Vec<String>,
    pub parent_names: Vec<String>,
    pub audit_names: Vec<String>,
    /// Empty where the recorder says only their names. One audit may be there several times, with other arguments.
    pub audits: Vec<NodeAudit>,
    /// When it is due; `None` where the recorder does not say: it is a seed or an external model, or the recorder is older.
    pub cron: Option<String>,
}

/// An audit as a model uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeAudit {
    pub name: String,
    /// As a person reads them.
    #[serde(default)]
    pub args: Option<String>,
    /// As it is declared; in a development environment SQLMesh may not let it block.
    #[serde(default)]
    pub blocking: Option<bool>,
    /// As it is written, with its macros.
    #[serde(default)]
    pub query: Option<String>,
}

/// A node as one of an environment's DAGs has it.
#[derive(Debug, Clone)]
pub(crate) struct NodeVersion {
    pub node: Node,
    /// When the environment got it first.
    pub since: Timestamp,
}

/// The DAG that the environment has now.
pub(crate) fn dag(connection: &Connection, project: i64, environment: &str) -> rusqlite::Result<Option<Dag>> {
    let newest = connection
        .prepare_cached("SELECT * FROM dag WHERE project = ?1 AND environment = ?2 ORDER BY seq DESC LIMIT 1")?
        .query_row(params![project, environment], |row| {
            let dag = Dag {
                project,
                environment: row.get("environment")?,
                plan_id: row.get("plan_id")?,
                at: row.get("at")?,
                start_at: row.get("start_at")?,
                schedule_cron: row.get("schedule_cron")?,
                schedule_seconds: row.get("schedule_seconds")?,
                nodes: Vec::new(),
            };
            Ok((row.get::<_, i64>("seq")?, dag))
        })
        .optional()?;
    let Some((seq, mut dag)) = newest else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached("SELECT * FROM dag_node WHERE dag = ?1 ORDER BY position")?;
    dag.nodes = statement.query_map([seq], node_from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(Some(dag))
}

/// Keeps the DAG unless the environment has it already, has had a newer one, or was deleted after it.
pub(crate) fn save_dag(connection: &Connection, dag: &Dag) -> rusqlite::Result<()> {
    let deleted_at = deleted_at(connection, dag.project, &dag.environment)?;
    if deleted_at.is_some_and(|deleted_at| dag.at <= deleted_at) {
        return Ok(());
    }
    if let Some(current) = self::dag(connection, dag.project, &dag.environment)? {
        let same = Dag { at: current.at, plan_id: current.plan_id.clone(), ..dag.clone() } == current;
        if same || dag.at < current.at {
            return Ok(());
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO dag (project, environment, plan_id, at, start_at, schedule_cron, schedule_seconds)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            dag.project,
            dag.environment,
            dag.plan_id,
            dag.at,
            dag.start_at,
            dag.schedule_cron,
            dag.schedule_seconds
        ])?;
    let seq = connection.last_insert_rowid();
    let mut insert = connection
        .prepare_cached("INSERT INTO dag_node VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")?;
    for (position, node) in dag.nodes.iter().enumerate() {
        insert.execute(params![
            seq,
            node.name,
            i64::try_from(position).unwrap_or(i64::MAX),
            node.version,
            node.model_name,
            node.description,
            node.source_type,
            node.node_type,
            to_json(&node.tags),
            to_json(&node.parent_names),
            to_json(&node.audit_names),
            serde_json::to_string(&node.audits).unwrap_or_else(|_| "[]".to_owned()),
            node.cron,
        ])?;
    }
    connection.execute(
        "DELETE FROM dag WHERE project = ?1 AND environment = ?2 AND seq NOT IN
             (SELECT seq FROM dag WHERE project = ?1 AND environment = ?2 ORDER BY seq DESC LIMIT ?3)",
        params![dag.project, dag.environment, KEPT],
    )?;
    Ok(())
}

/// The versions that a node has had in the environment, newest first, each as it was last.
pub(crate) fn node_versions(
    connection: &Connection,
    project: i64,
    environment: &str,
    name: &str,
) -> rusqlite::Result<Vec<NodeVersion>> {
    let mut statement = connection.prepare_cached(
        "SELECT dag_node.*, dag.at FROM dag_node JOIN dag ON dag.seq = dag_node.dag
         WHERE dag.project = ?1 AND dag.environment = ?2 AND dag_node.name = ?3 ORDER BY dag.seq DESC",
    )?;
    let mut rows = statement.query(params![project, environment, name])?;
    let mut versions: Vec<NodeVersion> = Vec::new();
    while let Some(row) = rows.next()? {
        let (node, since) = (node_from_row(row)?, row.get("at")?);
        match versions.iter_mut().find(|known| known.node.version == node.version) {
            Some(known) => known.since = since,
            None => versions.push(NodeVersion { node, since }),
        }
    }
    Ok(versions)
}

fn node_from_row(row: &Row<'_>) -> rusqlite::Result<Node> {
    Ok(Node {
        name: row.get("name")?,
        version: row.get("version")?,
        model_name: row.get("model_name")?,
        description: row.get("description")?,
        source_type: row.get("source_type")?,
        node_type: row.get("type")?,
        tags: from_json(row, "tags")?,
        parent_names: from_json(row, "parent_names")?,
        audit_names: from_json(row, "audit_names")?,
        audits: from_json(row, "audits")?,
        cron: row.get("cron")?,
    })
}

pub(super) fn to_json(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let column = row.as_ref().column_index(column)?;
    serde_json::from_str(&text).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
