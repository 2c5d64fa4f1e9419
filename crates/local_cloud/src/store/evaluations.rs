//! Evaluations and their audits.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params, params_from_iter};

use super::{Kind, Status};
use crate::timestamp::Timestamp;

/// What was done for one node in one batch.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
    pub seq: i64,
    pub project: i64,
    pub id: String,
    pub kind: Kind,
    pub activity_id: String,
    pub environment: String,
    /// Whether its run or plan has ended.
    pub activity_ended: bool,
    pub node_name: String,
    pub version: String,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    pub status: Status,
    pub start_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    pub error_message: Option<String>,
    pub log: Option<String>,
    /// Nothing was loaded, only audited.
    pub only_audits: bool,
    /// As the engine counts them, where it does.
    pub rows_processed: Option<i64>,
    pub audits: Vec<Audit>,
}

#[derive(Debug, Clone)]
pub(crate) struct Audit {
    pub name: String,
    pub args: Option<String>,
    pub status: Status,
    pub blocking: bool,
    /// Rows that failed it.
    pub count: Option<i64>,
    pub execution_time: Timestamp,
    pub interval_start: Timestamp,
    pub interval_end: Timestamp,
    /// The query that ran.
    pub log: Option<String>,
    pub duration_seconds: Option<f64>,
}

/// Which evaluations, and in which order.
#[derive(Debug, Clone, Default)]
pub(crate) struct EvaluationFilter {
    pub project: i64,
    pub run_id: Option<String>,
    pub plan_id: Option<String>,
    /// Made in it, or of a version of a node that it has now.
    pub environment: Option<String>,
    pub node_name: Option<String>,
    pub version: Option<String>,
    /// Only the newest of each node that has started; with an environment: of the version that it has now.
    pub latest: bool,
    pub newest_first: bool,
    pub limit: Option<u32>,
}

const COLUMNS: &str = "evaluation.*, activity.kind, activity.id AS activity_id, activity.environment,
     activity.end_at IS NOT NULL AS activity_ended";

pub(crate) fn evaluations(connection: &Connection, filter: &EvaluationFilter) -> rusqlite::Result<Vec<Evaluation>> {
    let (sql, values) = sql(filter);
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), from_row)?;
    found.map(|evaluation| with_audits(connection, evaluation?)).collect()
}

pub(crate) fn evaluation(connection: &Connection, id: &str) -> rusqlite::Result<Option<Evaluation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM evaluation JOIN activity ON activity.seq = evaluation.activity
         WHERE evaluation.id = ?1"
    );
    let found = connection.prepare_cached(&sql)?.query_row([id], from_row).optional()?;
    found.map(|evaluation| with_audits(connection, evaluation)).transpose()
}

/// How many evaluations a run or plan has.
pub(crate) fn count_evaluations(connection: &Connection, activity: i64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT count(*) FROM evaluation WHERE activity = ?1")?
        .query_row([activity], |row| row.get(0))
}

fn sql(filter: &EvaluationFilter) -> (String, Vec<Value>) {
    let plan = QueryPlan::of(filter);
    let (conditions, values) = conditions(filter, plan);
    let from = match plan {
        QueryPlan::All | QueryPlan::NewestOfNode => "evaluation".to_owned(),
        QueryPlan::NewestOfCurrentVersion => format!(
            "dag_node JOIN evaluation ON evaluation.seq =
                 (SELECT seq FROM evaluation AS newest
                  WHERE newest.project = {} AND newest.node_name = dag_node.name
                    AND newest.version = dag_node.version AND newest.start_at IS NOT NULL
                  ORDER BY newest.start_at DESC, newest.seq DESC LIMIT 1)",
            filter.project
        ),
    };
    let from = format!("{from} JOIN activity ON activity.seq = evaluation.activity");
    let order = if filter.newest_first {
        "evaluation.start_at IS NULL DESC, evaluation.start_at DESC, evaluation.seq DESC"
    } else {
        "evaluation.start_at IS NULL, evaluation.start_at, evaluation.seq"
    };
    let limit = filter.limit.map_or_else(String::new, |limit| format!("LIMIT {limit}"));
    let sql = match plan {
        QueryPlan::All | QueryPlan::NewestOfCurrentVersion => {
            format!("SELECT {COLUMNS} FROM {from} WHERE {conditions} ORDER BY {order} {limit}")
        }
        QueryPlan::NewestOfNode => format!(
            "SELECT {COLUMNS} FROM evaluation JOIN activity ON activity.seq = evaluation.activity
             WHERE evaluation.seq IN
                 (SELECT seq FROM
                     (SELECT evaluation.seq, row_number() OVER (PARTITION BY evaluation.node_name
                          ORDER BY evaluation.start_at DESC, evaluation.seq DESC) AS place
                      FROM {from} WHERE {conditions})
                  WHERE place = 1)
             ORDER BY {order} {limit}"
        ),
    };
    (sql, values)
}

/// How the rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueryPlan {
    /// All that meet the conditions.
    All,
    /// The newest of each node, among those that meet the conditions.
    NewestOfNode,
    /// The newest of each node of the environment's DAG: one step into the index for each, since this query is by far the most
    /// frequent of its kind and the database may hold years.
    NewestOfCurrentVersion,
}

impl QueryPlan {
    fn of(filter: &EvaluationFilter) -> Self {
        let of_activity = filter.run_id.is_some() || filter.plan_id.is_some();
        match (filter.latest, &filter.environment) {
            (false, _) => Self::All,
            (true, Some(_)) if !of_activity => Self::NewestOfCurrentVersion,
            (true, _) => Self::NewestOfNode,
        }
    }
}

/// What follows `WHERE`, and the values of its parameters.
fn conditions(filter: &EvaluationFilter, plan: QueryPlan) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    let mut only = |condition: &str, texts: &[&String]| {
        conditions.push(condition.to_owned());
        values.extend(texts.iter().map(|text| Value::from((*text).clone())));
    };
    let current_dag = format!("(SELECT max(seq) FROM dag WHERE project = {} AND environment = ?)", filter.project);
    let of_current_dag = format!(
        "EXISTS (SELECT 1 FROM dag_node WHERE dag_node.dag = {current_dag}
                     AND dag_node.name = evaluation.node_name AND dag_node.version = evaluation.version)"
    );
    only(&format!("evaluation.project = {}", filter.project), &[]);
    for (kind, id) in [(Kind::Run, &filter.run_id), (Kind::Plan, &filter.plan_id)] {
        if let Some(id) = id {
            let kind = kind.as_str();
            only(&format!("activity.kind = '{kind}' AND activity.id = ?"), &[id]);
        }
    }
    if let Some(name) = &filter.node_name {
        only("evaluation.node_name = ?", &[name]);
    }
    if let Some(version) = &filter.version {
        only("evaluation.version = ?", &[version]);
    }
    if let Some(environment) = &filter.environment {
        match plan {
            QueryPlan::All => {
                only(
                    &format!("((activity.environment = ? AND NOT activity.is_hidden) OR {of_current_dag})"),
                    &[environment, environment],
                );
            }
            QueryPlan::NewestOfNode => only(&of_current_dag, &[environment]),
            QueryPlan::NewestOfCurrentVersion => only(&format!("dag_node.dag = {current_dag}"), &[environment]),
        }
    }
    if plan == QueryPlan::NewestOfNode {
        only("evaluation.start_at IS NOT NULL", &[]);
    }
    (conditions.join(" AND "), values)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Evaluation> {
    Ok(Evaluation {
        seq: row.get("seq")?,
        project: row.get("project")?,
        id: row.get("id")?,
        kind: row.get("kind")?,
        activity_id: row.get("activity_id")?,
        environment: row.get("environment")?,
        activity_ended: row.get("activity_ended")?,
        node_name: row.get("node_name")?,
        version: row.get("version")?,
        interval_start: row.get("interval_start")?,
        interval_end: row.get("interval_end")?,
        status: row.get("status")?,
        start_at: row.get("start_at")?,
        end_at: row.get("end_at")?,
        error_message: row.get("error_message")?,
        log: row.get("log")?,
        only_audits: row.get("only_audits")?,
        rows_processed: row.get("rows_processed")?,
        audits: Vec::new(),
    })
}

fn with_audits(connection: &Connection, mut evaluation: Evaluation) -> rusqlite::Result<Evaluation> {
    let mut statement = connection.prepare_cached("SELECT * FROM audit WHERE evaluation = ?1 ORDER BY seq")?;
    let audits = statement.query_map([evaluation.seq], |row| {
        Ok(Audit {
            name: row.get("name")?,
            args: row.get("args")?,
            status: row.get("status")?,
            blocking: row.get("blocking")?,
            count: row.get("count")?,
            execution_time: row.get("execution_time")?,
            interval_start: row.get("interval_start")?,
            interval_end: row.get("interval_end")?,
            log: row.get("log")?,
            duration_seconds: row.get("duration_seconds")?,
        })
    })?;
    evaluation.audits = audits.collect::<rusqlite::Result<_>>()?;
    Ok(evaluation)
}

/// What is known of an evaluation before it begins.
#[derive(Debug, Clone)]
pub(crate) struct NewEvaluation<'a> {
    pub project: i64,
    pub id: &'a str,
    /// `seq` of its run or plan.
    pub activity: i64,
    pub node_name: &'a str,
    pub version: &'a str,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    pub only_audits: bool,
}

/// Stores a batch that will be evaluated.
pub(crate) fn schedule_evaluation(connection: &Connection, new: &NewEvaluation<'_>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO evaluation (project, id, activity, node_name, version, interval_start, interval_end, only_audits,
                                     status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'scheduled') ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            new.project,
            new.id,
            new.activity,
            new.node_name,
            new.version,
            new.interval_start,
            new.interval_end,
            new.only_audits
        ])?;
    Ok(())
}

/// Stores its start, whether or not it was scheduled, and even when its end is known already.
pub(crate) fn start_evaluation(
    connection: &Connection,
    new: &NewEvaluation<'_>,
    at: Timestamp,
) -> rusqlite::Result<()> {
    schedule_evaluation(connection, new)?;
    connection
        .prepare_cached(
            "UPDATE evaluation SET start_at = :at, only_audits = max(only_audits, :only_audits),
                 status = CASE WHEN end_at IS NULL THEN 'in_progress' ELSE status END WHERE id = :id",
        )?
        .execute(named_params! {":id": new.id, ":at": at, ":only_audits": new.only_audits})?;
    Ok(())
}

/// How an evaluation ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub status: Status,
    pub error_message: Option<&'a str>,
    pub log: Option<&'a str>,
    pub only_audits: bool,
    pub rows_processed: Option<i64>,
}

/// Stores its end. One whose start was not reported started then, too.
pub(crate) fn end_evaluation(connection: &Connection, seq: i64, end: End<'_>, at: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE evaluation SET status = ?2, error_message = ?3, log = ?4, end_at = ?5,
                 start_at = coalesce(start_at, ?5), only_audits = max(only_audits, ?6), rows_processed = ?7
             WHERE seq = ?1",
        )?
        .execute(params![seq, end.status, end.error_message, end.log, at, end.only_audits, end.rows_processed])?;
    Ok(())
}

pub(crate) fn insert_audit(connection: &Connection, evaluation: i64, audit: &Audit) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit (evaluation, name, args, status, blocking, count, execution_time,
                                interval_start, interval_end, log, duration_seconds)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            evaluation,
            audit.name,
            audit.args,
            audit.status,
            audit.blocking,
            audit.count,
            audit.execution_time,
            audit.interval_start,
            audit.interval_end,
            audit.log,
            audit.duration_seconds
        ])?;
    Ok(())
}
