//! The recorder's events become rows. Each is accepted once, in whatever order they arrive; one that cannot be accepted is
//! refused with a reason and does not hold up the others.

mod event;
mod project;

use std::collections::HashSet;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::store::queries::{self, End, NewActivity, NewEvaluation};
use crate::store::{Activity, Audit, Dag, Evaluation, Kind, Node, Status};
use crate::text::{MAX_STORED, truncate_middle};
use crate::timestamp::Timestamp;
use event::{AuditResult, Batch, Ended, EvaluationEnd, Event, EventBody, NewEnvironment, Owner, Source};

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
/// `base_url_project` is the name of the project to whose base URL they were sent, if it was one of a project.
pub(crate) fn ingest(
    connection: &Connection,
    lines: &str,
    base_url_project: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<IngestResult> {
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
        let context = Context { connection, source: &event.source, base_url_project, at: event.at, now };
        match apply(&context, event.body) {
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

/// One event's circumstances.
struct Context<'a> {
    connection: &'a Connection,
    source: &'a Source,
    base_url_project: Option<&'a str>,
    /// When it happened.
    at: Timestamp,
    /// When it arrived.
    now: Timestamp,
}

impl Context<'_> {
    /// Only events that store something make a project known.
    fn project(&self) -> Result<i64, EventError> {
        project::find_or_create(self.connection, self.source, self.base_url_project)
    }

    fn start(&self, kind: Kind, id: &str, environment: &str) -> Result<(), EventError> {
        // A run stays in the project that it started in.
        let known = queries::activity(self.connection, kind, id)?;
        let project = known.map_or_else(|| self.project(), |activity| Ok(activity.project))?;
        let new = NewActivity { project, kind, id, environment };
        Ok(queries::start_activity(self.connection, new, self.at, self.now)?)
    }

    /// The run or plan of an event. One whose start was not reported starts with the first event that names it.
    fn owner(&self, owner: &Owner, environment: &str) -> Result<Activity, EventError> {
        let Some((kind, id)) = owner.get() else {
            return refused(ONE_OWNER);
        };
        if let Some(activity) = queries::activity(self.connection, kind, id)? {
            queries::record_heartbeat(self.connection, kind, id, self.now)?;
            return Ok(activity);
        }
        self.start(kind, id, environment)?;
        let started = queries::activity(self.connection, kind, id)?;
        started.ok_or(EventError::Database(rusqlite::Error::QueryReturnedNoRows))
    }

    /// The evaluation that an event is about. The event counts as a heartbeat of its run or plan.
    fn evaluation(&self, id: &str) -> Result<Evaluation, EventError> {
        let Some(evaluation) = queries::evaluation(self.connection, id)? else {
            return refused(format!("evaluation {id} is unknown"));
        };
        queries::record_heartbeat(self.connection, evaluation.kind, &evaluation.activity_id, self.now)?;
        Ok(evaluation)
    }
}

fn apply(context: &Context<'_>, body: EventBody) -> Result<(), EventError> {
    let (connection, at) = (context.connection, context.at);
    match body {
        EventBody::Environment(new) => queries::save_dag(connection, &dag(*new, context.project()?, at))?,
        EventBody::EnvironmentDeleted { environment } => {
            if let Some(project) = project::find(connection, context.source, context.base_url_project)? {
                queries::delete_environment(connection, project.seq, &environment, at)?;
            }
        }
        EventBody::RunStarted { run_id, environment } => context.start(Kind::Run, &run_id, &environment)?,
        EventBody::PlanStarted { plan_id, environment } => context.start(Kind::Plan, &plan_id, &environment)?,
        EventBody::RunEnded(ended) | EventBody::PlanEnded(ended) => end(context, &ended)?,
        EventBody::Due(due) => {
            let activity = context.owner(&due.owner, &due.environment)?;
            queries::add_due_nodes(connection, activity.seq, &due.node_names)?;
        }
        EventBody::EvaluationScheduled(batch) => {
            let activity = context.owner(&batch.owner, &batch.environment)?;
            // What was scheduled and never started is deleted when a run ends: this one arrives too late.
            if activity.end_at.is_none() {
                queries::schedule_evaluation(connection, &new_evaluation(&batch, &activity))?;
            }
        }
        EventBody::EvaluationStarted(batch) => {
            let activity = context.owner(&batch.owner, &batch.environment)?;
            queries::start_evaluation(connection, &new_evaluation(&batch, &activity), at)?;
        }
        EventBody::Audit(result) => {
            let evaluation = context.evaluation(&result.evaluation_id)?;
            let audit = audit(result, &evaluation, at)?;
            queries::insert_audit(connection, evaluation.seq, &audit)?;
        }
        EventBody::EvaluationEnded(end) => {
            let evaluation = context.evaluation(&end.evaluation_id)?;
            end_evaluation(connection, &evaluation, &end, at)?;
        }
        EventBody::Heartbeat(of) => {
            let Some((kind, id)) = of.get() else {
                return refused(ONE_OWNER);
            };
            queries::record_heartbeat(connection, kind, id, context.now)?;
        }
    }
    Ok(())
}

const ONE_OWNER: &str = "exactly one of \"run_id\" and \"plan_id\" is required";

fn dag(new: NewEnvironment, project: i64, at: Timestamp) -> Dag {
    let mut names = HashSet::new();
    let nodes = new.nodes.into_iter().map(Node::from);
    Dag {
        nodes: nodes.filter(|node| names.insert(node.name.clone())).collect(),
        project,
        environment: new.environment,
        plan_id: new.plan_id,
        at,
        start_at: new.start_at.unwrap_or(at),
        schedule_cron: new.schedule_cron.unwrap_or_else(|| DEFAULT_CRON.to_owned()),
        schedule_seconds: new.schedule_seconds.unwrap_or(DEFAULT_SECONDS),
    }
}

fn end(context: &Context<'_>, ended: &Ended) -> Result<(), EventError> {
    if !ended.status.is_final() {
        return refused(format!("{:?} is not a final status", ended.status.as_str()));
    }
    let activity = context.owner(&ended.owner, &ended.environment)?;
    let message = ended.error_message.as_deref().map(stored);
    let Context { connection, at, now, .. } = *context;
    queries::end_activity(connection, activity.seq, ended.status, message.as_deref(), at, now)?;
    Ok(())
}

fn new_evaluation<'a>(batch: &'a Batch, activity: &Activity) -> NewEvaluation<'a> {
    NewEvaluation {
        project: activity.project,
        id: &batch.evaluation_id,
        activity: activity.seq,
        node_name: &batch.node_name,
        version: batch.version.as_deref().unwrap_or_default(),
        interval_start: batch.interval_start,
        interval_end: batch.interval_end,
        only_audits: batch.only_audits,
    }
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
        duration_seconds: result.duration_seconds,
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
    let ended = End {
        status: end.status,
        error_message: message.as_deref(),
        log: log.as_deref(),
        only_audits: end.only_audits,
        rows_processed: end.rows_processed,
    };
    queries::end_evaluation(connection, evaluation.seq, ended, at)?;
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
