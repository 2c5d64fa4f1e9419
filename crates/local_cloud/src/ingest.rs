//! The recorder's events become rows. Taken once each, in whatever order they arrive; one that cannot be taken is
//! refused with a reason and does not hold up the others.

use std::collections::HashSet;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::event::{AuditResult, Batch, Ended, EnvironmentSeen, EvaluationEnd, Event, Owner, What};
use crate::moment::Moment;
use crate::store::ask::{self, NewEvaluation};
use crate::store::{Activity, Audit, Dag, Evaluation, Kind, Node, Status};
use crate::text::{LONGEST_STORED, cut};

/// SQLMesh's shortest interval, for recorders that do not know the environment's.
const DEFAULT_CRON: &str = "*/5 * * * *";
const DEFAULT_SECONDS: i64 = 300;

/// What became of a batch of events.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Receipt {
    /// Taken just now.
    pub accepted: usize,
    /// Taken before.
    pub known: usize,
    /// Sending these again is of no use.
    pub refused: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    pub id: Option<String>,
    pub reason: String,
}

/// Why an event was not taken: what it says, or a database that does not work.
enum NotTaken {
    Refused(String),
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for NotTaken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, NotTaken> {
    Err(NotTaken::Refused(reason.into()))
}

/// Takes JSON lines. An error means that nothing was taken and the batch may be sent again.
pub(crate) fn take(connection: &Connection, lines: &str, now: Moment) -> rusqlite::Result<Receipt> {
    let mut receipt = Receipt::default();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let event = match Event::parse(line) {
            Ok(event) => event,
            Err(unreadable) => {
                receipt.refuse(unreadable.id, unreadable.reason);
                continue;
            }
        };
        let id = event.id.clone();
        if is_known(connection, &id)? {
            receipt.known += 1;
            continue;
        }
        match take_one(connection, event, now) {
            Ok(()) => {
                remember(connection, &id, now)?;
                receipt.accepted += 1;
            }
            Err(NotTaken::Refused(reason)) => receipt.refuse(Some(id), reason),
            Err(NotTaken::Broken(error)) => return Err(error),
        }
    }
    Ok(receipt)
}

impl Receipt {
    fn refuse(&mut self, id: Option<String>, reason: String) {
        tracing::warn!(event = id.as_deref().unwrap_or("?"), "event refused: {reason}");
        self.refused.push(Refusal { id, reason });
    }
}

fn is_known(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM event WHERE id = ?1)")?.query_row([id], |row| row.get(0))
}

fn remember(connection: &Connection, id: &str, now: Moment) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO event (id, received_at) VALUES (?1, ?2)")?
        .execute(rusqlite::params![id, now])?;
    Ok(())
}

fn take_one(connection: &Connection, event: Event, now: Moment) -> Result<(), NotTaken> {
    let at = event.at;
    match event.what {
        What::Environment(seen) => ask::remember_dag(connection, &dag(*seen, at))?,
        What::RunStarted { run_id, environment } => {
            ask::start_activity(connection, Kind::Run, &run_id, &environment, at, now)?;
        }
        What::PlanStarted { plan_id, environment } => {
            ask::start_activity(connection, Kind::Plan, &plan_id, &environment, at, now)?;
        }
        What::RunEnded(ended) | What::PlanEnded(ended) => end(connection, &ended, at, now)?,
        What::EvaluationScheduled(batch) => {
            let activity = owner(connection, &batch.owner, &batch.environment, at, now)?;
            // Told too late to matter: what was scheduled and never started goes when a run ends.
            if activity.end_at.is_none() {
                ask::schedule_evaluation(connection, &new_evaluation(&batch, &activity))?;
            }
        }
        What::EvaluationStarted(batch) => {
            let activity = owner(connection, &batch.owner, &batch.environment, at, now)?;
            ask::start_evaluation(connection, &new_evaluation(&batch, &activity), at)?;
        }
        What::Audit(result) => {
            let evaluation = evaluation(connection, &result.evaluation_id, now)?;
            let audit = audit(result, &evaluation, at)?;
            ask::insert_audit(connection, evaluation.seq, &audit)?;
        }
        What::EvaluationEnded(end) => {
            let evaluation = evaluation(connection, &end.evaluation_id, now)?;
            end_evaluation(connection, &evaluation, &end, at)?;
        }
        What::Heartbeat(of) => {
            let Some((kind, id)) = of.get() else {
                return refused(ONE_OWNER);
            };
            ask::hear(connection, kind, id, now)?;
        }
    }
    Ok(())
}

const ONE_OWNER: &str = "exactly one of \"run_id\" and \"plan_id\" is needed";

fn dag(seen: EnvironmentSeen, at: Moment) -> Dag {
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

/// The run or plan of an event. One whose beginning was not told begins with the first event that names it.
fn owner(
    connection: &Connection,
    owner: &Owner,
    environment: &str,
    at: Moment,
    now: Moment,
) -> Result<Activity, NotTaken> {
    let Some((kind, id)) = owner.get() else {
        return refused(ONE_OWNER);
    };
    match ask::activity(connection, kind, id)? {
        Some(_) => ask::hear(connection, kind, id, now)?,
        None => ask::start_activity(connection, kind, id, environment, at, now)?,
    }
    match ask::activity(connection, kind, id)? {
        Some(activity) => Ok(activity),
        None => Err(NotTaken::Broken(rusqlite::Error::QueryReturnedNoRows)),
    }
}

fn end(connection: &Connection, ended: &Ended, at: Moment, now: Moment) -> Result<(), NotTaken> {
    if !ended.status.is_final() {
        return refused(format!("{:?} is no end", ended.status.as_str()));
    }
    let activity = owner(connection, &ended.owner, &ended.environment, at, now)?;
    let message = ended.error_message.as_deref().map(stored);
    ask::end_activity(connection, activity.seq, ended.status, message.as_deref(), at, now)?;
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

/// The evaluation that an event is about, whose run or plan is alive then.
fn evaluation(connection: &Connection, id: &str, now: Moment) -> Result<Evaluation, NotTaken> {
    let Some(evaluation) = ask::evaluation(connection, id)? else {
        return refused(format!("evaluation {id} is unknown"));
    };
    ask::hear(connection, evaluation.kind, &evaluation.activity_id, now)?;
    Ok(evaluation)
}

/// The API promises times that the recorder may not know: the evaluation's stand in for them.
fn audit(result: AuditResult, evaluation: &Evaluation, at: Moment) -> Result<Audit, NotTaken> {
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
    at: Moment,
) -> Result<(), NotTaken> {
    if !end.status.is_final() {
        return refused(format!("{:?} is no end", end.status.as_str()));
    }
    let message = end.error_message.as_deref().map(stored);
    let log = end.log.as_deref().map(stored);
    ask::end_evaluation(connection, evaluation.seq, end.status, message.as_deref(), log.as_deref(), at)?;
    Ok(())
}

fn stored(text: &str) -> String {
    cut(text, LONGEST_STORED).into_owned()
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
