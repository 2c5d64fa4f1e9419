//! What the tables of several pages show, ready to be printed.

use std::collections::HashMap;

use super::Link;
use crate::links::{EvaluationOf, EvaluationTab, Links};
use crate::store::{Activity, Audit, Dag, Evaluation, Status};
use crate::text::{MAX_SHOWN, headline, truncate_middle};
use crate::timestamp::{Timestamp, duration_for_people};

/// Longest message in a table, in characters.
const MAX_LINE_CHARS: usize = 200;

/// A status as a coloured label.
#[derive(Clone, Copy)]
pub(super) struct StatusBadge {
    pub class: &'static str,
    pub text: &'static str,
}

/// What people call a node, by its full name.
pub(super) type ModelNames = HashMap<String, String>;

/// A run or a plan in a table.
pub(super) struct ActivityRow {
    pub id: String,
    pub kind: &'static str,
    pub url: String,
    pub environment: String,
    pub environment_url: String,
    pub badge: StatusBadge,
    pub start: String,
    pub end: String,
    pub duration: String,
    pub error_line: String,
    pub evaluations: i64,
}

/// An evaluation in a table.
pub(super) struct EvaluationRow {
    pub model: String,
    pub url: String,
    pub log_url: String,
    pub badge: StatusBadge,
    pub interval: String,
    pub start: String,
    pub duration: String,
    pub error_line: String,
    pub audits: AuditCounts,
    /// The run or plan that made it, on pages that mix runs and plans.
    pub origin: Link,
    pub bar: Bar,
}

/// How a group of audits went.
#[derive(Default)]
pub(super) struct AuditCounts {
    pub passed: usize,
    pub failed: usize,
    /// Of those that failed: whether one of them stopped the model.
    pub blocked: bool,
}

/// A bar on a time line, in percent of its length.
#[derive(Default)]
pub(super) struct Bar {
    pub left: String,
    pub width: String,
}

/// An audit's result.
pub(super) struct AuditRow {
    /// Counts the evaluation's audits from 1.
    pub number: usize,
    pub name: String,
    pub args: String,
    pub model: String,
    pub url: String,
    pub badge: StatusBadge,
    pub blocking: bool,
    pub count: Option<i64>,
    pub at: String,
    pub interval: String,
    pub log: String,
}

impl StatusBadge {
    pub fn of_status(status: Status) -> Self {
        let (class, text) = match status {
            Status::Scheduled => ("waiting", "scheduled"),
            Status::InProgress => ("running", "in progress"),
            Status::Skipped => ("skipped", "skipped"),
            Status::Success => ("success", "success"),
            Status::Failed => ("failed", "failed"),
            Status::Preempted => ("stopped", "preempted"),
            Status::Aborted => ("stopped", "aborted"),
        };
        Self { class, text }
    }

    /// An evaluation that is open for ever, since its run is over, does not go on.
    pub fn of_evaluation(evaluation: &Evaluation) -> Self {
        if evaluation.activity_ended && !evaluation.status.is_final() {
            Self { class: "stopped", text: "never ended" }
        } else {
            Self::of_status(evaluation.status)
        }
    }

    /// An audit that fails without blocking is a warning.
    pub fn of_audit(audit: &Audit) -> Self {
        match (audit.status, audit.blocking) {
            (Status::Success, _) => Self { class: "success", text: "passed" },
            (_, true) => Self { class: "failed", text: "failed" },
            (_, false) => Self { class: "warning", text: "failed" },
        }
    }
}

impl ActivityRow {
    pub fn new(activity: &Activity, evaluations: i64, links: &Links) -> Self {
        Self {
            id: activity.id.clone(),
            kind: activity.kind.as_str(),
            url: links.executions(activity.kind, &activity.environment, &activity.id),
            environment: activity.environment.clone(),
            environment_url: links.environment(&activity.environment),
            badge: StatusBadge::of_status(activity.status),
            start: time(activity.start_at),
            end: time(activity.end_at),
            duration: duration_for_people(activity.start_at, activity.end_at),
            error_line: line(activity.error_message.as_deref()),
            evaluations,
        }
    }
}

impl EvaluationRow {
    /// `span` is the time line's beginning and end.
    pub fn new(
        evaluation: &Evaluation,
        names: &ModelNames,
        span: Option<(Timestamp, Timestamp)>,
        links: &Links,
    ) -> Self {
        let of = EvaluationOf::from(evaluation);
        let activity = links.executions(of.kind, of.environment, of.activity_id);
        let origin = format!("{} in {}", of.kind.as_str(), of.environment);
        Self {
            model: model_name(names, &evaluation.node_name),
            url: links.evaluation(&of, EvaluationTab::Overview),
            log_url: links.evaluation(&of, EvaluationTab::Log),
            badge: StatusBadge::of_evaluation(evaluation),
            interval: interval(evaluation.interval_start, evaluation.interval_end),
            start: time(evaluation.start_at),
            duration: duration_for_people(evaluation.start_at, evaluation.end_at),
            error_line: line(evaluation.error_message.as_deref()),
            audits: AuditCounts::new(&evaluation.audits),
            origin: Link::new(origin, activity),
            bar: span.map_or_else(Bar::default, |span| Bar::new(evaluation, span)),
        }
    }
}

impl AuditCounts {
    pub fn new<'a>(audits: impl IntoIterator<Item = &'a Audit>) -> Self {
        let mut counts = Self::default();
        for audit in audits {
            match audit.status {
                Status::Success => counts.passed += 1,
                _ => counts.failed += 1,
            }
            counts.blocked |= audit.status != Status::Success && audit.blocking;
        }
        counts
    }
}

impl Bar {
    fn new(evaluation: &Evaluation, (from, to): (Timestamp, Timestamp)) -> Self {
        let Some(start) = evaluation.start_at else {
            return Self::default();
        };
        let whole = to.micros() - from.micros();
        let place = |at: Timestamp| match whole {
            whole if whole > 0 => ((at.micros() - from.micros()) as f64 / whole as f64 * 100.0).clamp(0.0, 100.0),
            _ => 0.0,
        };
        let end = evaluation.end_at.unwrap_or(to);
        // So wide that even the shortest can be seen, and so far left that it fits.
        let width = (place(end) - place(start)).max(0.8);
        let left = place(start).min(100.0 - width).max(0.0);
        Self { left: format!("{left:.2}%"), width: format!("{width:.2}%") }
    }
}

impl AuditRow {
    pub fn all_of(evaluation: &Evaluation, names: &ModelNames, links: &Links) -> Vec<Self> {
        let of = EvaluationOf::from(evaluation);
        let numbered = evaluation.audits.iter().zip(1..);
        numbered
            .map(|(audit, number)| Self {
                number,
                name: audit.name.clone(),
                args: audit.args.clone().unwrap_or_default(),
                model: model_name(names, &evaluation.node_name),
                url: links.audit(&of, number, EvaluationTab::Overview),
                badge: StatusBadge::of_audit(audit),
                blocking: audit.blocking,
                count: audit.count,
                at: audit.execution_time.for_people(),
                interval: interval(Some(audit.interval_start), Some(audit.interval_end)),
                log: shown(audit.log.as_deref()),
            })
            .collect()
    }
}

/// The names of a DAG's nodes.
pub(super) fn model_names(dag: Option<&Dag>) -> ModelNames {
    let nodes = dag.into_iter().flat_map(|dag| &dag.nodes);
    nodes.map(|node| (node.name.clone(), node.model_name.clone())).collect()
}

pub(super) fn model_name(names: &ModelNames, node_name: &str) -> String {
    let known = names.get(node_name).cloned();
    known.unwrap_or_else(|| node_name.replace('"', ""))
}

pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map(Timestamp::for_people).unwrap_or_default()
}

/// `2024-05-01 12:35 – 12:40`, with the end's day and the seconds where they are needed.
pub(super) fn interval(start: Option<Timestamp>, end: Option<Timestamp>) -> String {
    let (Some(start), Some(end)) = (start, end) else {
        return time(start.or(end));
    };
    let (start, end) = (start.for_people(), end.for_people());
    let whole_minutes = start.ends_with(":00") && end.ends_with(":00");
    let length = if whole_minutes { "2024-05-01 12:35".len() } else { start.len() };
    let same_day = start.split(' ').next() == end.split(' ').next();
    let from = if same_day { "2024-05-01 ".len() } else { 0 };
    match (start.get(..length), end.get(from..length.min(end.len()))) {
        (Some(start), Some(end)) => format!("{start} – {end}"),
        _ => format!("{start} – {end}"),
    }
}

/// A long text as a page shows it.
pub(super) fn shown(text: Option<&str>) -> String {
    truncate_middle(text.unwrap_or_default().trim_end(), MAX_SHOWN).into_owned()
}

fn line(text: Option<&str>) -> String {
    headline(text.unwrap_or_default(), MAX_LINE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_short_as_they_can_be() {
        let check = |start: &str, end: &str, expected: &str| {
            assert_eq!(interval(Timestamp::parse(start), Timestamp::parse(end)), expected);
        };
        check("2024-05-01T12:35:00Z", "2024-05-01T12:40:00Z", "2024-05-01 12:35 – 12:40");
        check("2024-05-01T12:35:00Z", "2024-05-01T12:40:01Z", "2024-05-01 12:35:00 – 12:40:01");
        check("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z", "2024-05-01 00:00 – 2024-05-02 00:00");
        check("", "2024-05-01T00:00:00Z", "2024-05-01 00:00:00");
        check("", "", "");
    }
}
