//! The recorder's events become rows. Each is accepted once, in whatever order they arrive; one that cannot be accepted is
//! refused with a reason and does not hold up the others.

mod event;

use std::collections::HashSet;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::store::queries::{self, NewEvaluation};
use crate::store::{Activity, Audit, Dag, Evaluation, Kind, Node, Status};
use crate::text::{MAX_STORED, truncate_middle};
use crate::timestamp::Timestamp;
use event::{AuditResult, Batch, Ended, EvaluationEnd, Event, EventBody, NewEnvironment, Owner};

/// SQLMesh's shortest interval, for recorders that do not know the environment's.
const DEFAULT_CRON: &str = "*/5 * * * *";
const DEFAULT_SECONDS: i64 = 300;

/// What became of a batch of events.
#[derive(Debug, Default, Serialize)]
pub(crate) struct IngestResult {
    /// New events that are stored now.
    pub accepted: usize,
    /// Events that were accepted before.
    pub known: usize,
    /// Events that will never be accepted: sending them again is of no use.
    pub refused: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    pub id: Option<String>,
    pub reason: String,
}

/// Why an event was not accepted: its contents, or the database.
enum EventError {
    Refused(String),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for EventError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, EventError> {
    Err(EventError::Refused(reason.into()))
}

/// Stores events, given as JSON lines. After an error nothing is stored, and the batch may be sent again.
pub(crate) fn ingest(connection: &Connection, lines: &str, now: Timestamp) -> rusqlite::Result<IngestResult> {
    let mut result = IngestResult::default();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let event = match Event::parse(line) {
            Ok(event) => event,
            Err(unreadable) => {
                result.refuse(unreadable.id, unreadable.reason);
                continue;
            }
        };
        let id = event.id.clone();
        if is_known(connection, &id)? {
            result.known += 1;
            continue;
        }
        match apply(connection, event, now) {
            Ok(()) => {
                mark_known(connection, &id, now)?;
                result.accepted += 1;
            }
            Err(EventError::Refused(reason)) => result.refuse(Some(id), reason),
            Err(EventError::Database(error)) => return Err(error),
        }
    }
    Ok(result)
}

impl IngestResult {
    fn refuse(&mut self, id: Option<String>, reason: String) {
        tracing::warn!(event = id.as_deref().unwrap_or("?"), "event refused: {reason}");
        self.refused.push(Refusal { id, reason });
    }
}

fn is_known(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM event WHERE id = ?1)")?.query_row([id], |row| row.get(0))
}

fn mark_known(connection: &Connection, id: &str, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO event (id, received_at) VALUES (?1, ?2)")?
        .execute(rusqlite::params![id, now])?;
    Ok(())
}

fn apply(connection: &Connection, event: Event, now: Timestamp) -> Result<(), EventError> {
    let at = event.at;
    match event.body {
        EventBody::Environment(seen) => queries::save_dag(connection, &dag(*seen, at))?,
        EventBody::RunStarted { run_id, environment } => {
            queries::start_activity(connection, Kind::Run, &run_id, &environment, at, now)?;
        }
        EventBody::PlanStarted { plan_id, environment } => {
            queries::start_activity(connection, Kind::Plan, &plan_id, &environment, at, now)?;
        }
        EventBody::RunEnded(ended) | EventBody::PlanEnded(ended) => end(connection, &ended, at, now)?,
        EventBody::EvaluationScheduled(batch) => {
            let activity = owner(connection, &batch.owner, &batch.environment, at, now)?;
            // What was scheduled and never started is deleted when a run ends: this one arrives too late.
            if activity.end_at.is_none() {
                queries::schedule_evaluation(connection, &new_evaluation(&batch, &activity))?;
            }
        }
        EventBody::EvaluationStarted(batch) => {
            let activity = owner(connection, &batch.owner, &batch.environment, at, now)?;
            queries::start_evaluation(connection, &new_evaluation(&batch, &activity), at)?;
        }
        EventBody::Audit(result) => {
            let evaluation = evaluation_of(connection, &result.evaluation_id, now)?;
            let audit = audit(result, &evaluation, at)?;
            queries::insert_audit(connection, evaluation.seq, &audit)?;
        }
        EventBody::EvaluationEnded(end) => {
            let evaluation = evaluation_of(connection, &end.evaluation_id, now)?;
            end_evaluation(connection, &evaluation, &end, at)?;
        }
        EventBody::Heartbeat(of) => {
            let Some((kind, id)) = of.get() else {
                return refused(ONE_OWNER);
            };
            queries::record_heartbeat(connection, kind, id, now)?;
        }
    }
    Ok(())
}

const ONE_OWNER: &str = "exactly one of \"run_id\" and \"plan_id\" is required";

fn dag(seen: NewEnvironment, at: Timestamp) -> Dag {
    let mut names = HashSet::new();
    let nodes = seen.nodes.into_iter().map(Node::from);
    Dag {
        nodes: nodes.filter(|node| names.insert(node.name.clone())).collect(),
        environment: seen.environment,
        plan_id: seen.plan_id,
        at,
        start_at: seen.start_at.unwrap_or(at),
        schedule_cron: seen.schedule_cron.unwrap_or_else(|| DEFAULT_CRON.to_owned()),
        schedule_seconds: seen.schedule_seconds.unwrap_or(DEFAULT_SECONDS),
    }
}

/// The run or plan of an event. One whose start was not reported starts with the first event that names it.
fn owner(
    connection: &Connection,
    owner: &Owner,
    environment: &str,
    at: Timestamp,
    now: Timestamp,
) -> Result<Activity, EventError> {
    let Some((kind, id)) = owner.get() else {
        return refused(ONE_OWNER);
    };
    match queries::activity(connection, kind, id)? {
        Some(_) => queries::record_heartbeat(connection, kind, id, now)?,
        None => queries::start_activity(connection, kind, id, environment, at, now)?,
    }
    match queries::activity(connection, kind, id)? {
        Some(activity) => Ok(activity),
        None => Err(EventError::Database(rusqlite::Error::QueryReturnedNoRows)),
    }
}

fn end(connection: &Connection, ended: &Ended, at: Timestamp, now: Timestamp) -> Result<(), EventError> {
    if !ended.status.is_final() {
        return refused(format!("{:?} is not a final status", ended.status.as_str()));
    }
    let activity = owner(connection, &ended.owner, &ended.environment, at, now)?;
    let message = ended.error_message.as_deref().map(stored);
    queries::end_activity(connection, activity.seq, ended.status, message.as_deref(), at, now)?;
    Ok(())
}

fn new_evaluation<'a>(batch: &'a Batch, activity: &Activity) -> NewEvaluation<'a> {
    NewEvaluation {
        id: &batch.evaluation_id,
        activity: activity.seq,
        node_name: &batch.node_name,
        version: batch.version.as_deref().unwrap_or_default(),
        interval_start: batch.interval_start,
        interval_end: batch.interval_end,
    }
}

/// The evaluation that an event is about. The event counts as a heartbeat of its run or plan.
fn evaluation_of(connection: &Connection, id: &str, now: Timestamp) -> Result<Evaluation, EventError> {
    let Some(evaluation) = queries::evaluation(connection, id)? else {
        return refused(format!("evaluation {id} is unknown"));
    };
    queries::record_heartbeat(connection, evaluation.kind, &evaluation.activity_id, now)?;
    Ok(evaluation)
}

/// The API promises times that the recorder may not know: then the evaluation's times are used.
fn audit(result: AuditResult, evaluation: &Evaluation, at: Timestamp) -> Result<Audit, EventError> {
    if !matches!(result.status, Status::Success | Status::Failed) {
        return refused("an audit ends as \"success\" or \"failed\"");
    }
    let interval_start = result.interval_start.or(evaluation.interval_start);
    let interval_end = result.interval_end.or(evaluation.interval_end);
    Ok(Audit {
        name: result.name,
        args: result.args.and_then(text_of),
        status: result.status,
        blocking: result.blocking,
        count: result.count,
        execution_time: result.execution_time.unwrap_or(at),
        interval_start: interval_start.or(interval_end).unwrap_or(at),
        interval_end: interval_end.or(interval_start).unwrap_or(at),
        log: result.log.as_deref().map(stored),
    })
}

fn end_evaluation(
    connection: &Connection,
    evaluation: &Evaluation,
    end: &EvaluationEnd,
    at: Timestamp,
) -> Result<(), EventError> {
    if !end.status.is_final() {
        return refused(format!("{:?} is not a final status", end.status.as_str()));
    }
    let message = end.error_message.as_deref().map(stored);
    let log = end.log.as_deref().map(stored);
    queries::end_evaluation(connection, evaluation.seq, end.status, message.as_deref(), log.as_deref(), at)?;
    Ok(())
}

fn stored(text: &str) -> String {
    truncate_middle(text, MAX_STORED).into_owned()
}

/// Arguments as a person reads them; none, if there are none.
fn text_of(args: Value) -> Option<String> {
    match args {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(stored(&text)),
        Value::Object(map) if map.is_empty() => None,
        other => Some(stored(&other.to_string())),
    }
}
