//! The rows of the database as the objects of the V1 API.

use tobiko_api::{AuditEvaluation, DagAudit, DagNode};

use crate::links::{EvaluationOf, EvaluationTab, Links};
use crate::store::{Activity, Audit, Dag, Evaluation, Kind, Node, NodeAudit, NodeType, Plan, SourceType, Status};

pub(crate) fn dag(dag: Dag, links: &Links) -> tobiko_api::Dag {
    let environment = dag.environment.as_str();
    let nodes = dag.nodes.into_iter();
    tobiko_api::Dag {
        nodes: nodes.map(|node| dag_node(node, environment, links)).collect(),
        link: Some(links.environment(environment)),
        start_at: Some(dag.start_at.into()),
        schedule_seconds: Some(dag.schedule_seconds),
        schedule_cron: Some(dag.schedule_cron),
        environment: dag.environment,
    }
}

fn dag_node(node: Node, environment: &str, links: &Links) -> DagNode {
    DagNode {
        link: Some(links.model(environment, &node.name, Some(&node.version))),
        name: node.name,
        model_name: node.model_name,
        description: node.description,
        source_type: node.source_type.into(),
        tags: node.tags,
        parent_names: node.parent_names,
        audit_names: node.audit_names,
        audits: node.audits.into_iter().map(Into::into).collect(),
        node_type: node.node_type.into(),
        cron: node.cron,
    }
}

/// `due_node_names` is for a single run.
pub(crate) fn run(run: Activity, due_node_names: Option<Vec<String>>, links: &Links) -> tobiko_api::Run {
    tobiko_api::Run {
        link: Some(links.executions(run.kind, &run.environment, &run.id)),
        environment: run.environment,
        run_id: run.id,
        start_at: run.start_at.map(Into::into),
        end_at: run.end_at.map(Into::into),
        error_message: run.error_message,
        status: run.status.into(),
        seq: u64::try_from(run.seq).ok(),
        due_node_names,
    }
}

pub(crate) fn plan(plan: Plan, links: &Links) -> tobiko_api::Plan {
    let activity = plan.activity;
    tobiko_api::Plan {
        link: Some(links.executions(activity.kind, &activity.environment, &activity.id)),
        plan_id: activity.id,
        environment: activity.environment,
        status: activity.status.into(),
        start_at: activity.start_at.map(Into::into),
        end_at: activity.end_at.map(Into::into),
        error_message: activity.error_message,
        seq: plan.ended_seq.and_then(|seq| u64::try_from(seq).ok()),
        evaluations: u64::try_from(plan.evaluations).unwrap_or_default(),
    }
}

#[expect(clippy::needless_update, reason = "a field that a local cloud does not know needs no line here")]
pub(crate) fn evaluation(evaluation: Evaluation, links: &Links) -> tobiko_api::Evaluation {
    let of = EvaluationOf::from(&evaluation);
    let audits = evaluation.audits.iter().zip(1..);
    let audits = audits.map(|(audit, number)| audit_evaluation(audit, &of, number, links)).collect();
    let (link, log_link) = (links.evaluation(&of, EvaluationTab::Overview), links.evaluation(&of, EvaluationTab::Log));
    let (run_id, plan_id) = match evaluation.kind {
        Kind::Run => (Some(evaluation.activity_id), None),
        Kind::Plan => (None, Some(evaluation.activity_id)),
    };
    tobiko_api::Evaluation {
        link: Some(link),
        log_link: Some(log_link),
        audits,
        evaluation_id: evaluation.id,
        node_name: evaluation.node_name,
        start_at: evaluation.start_at.map(Into::into),
        end_at: evaluation.end_at.map(Into::into),
        error_message: evaluation.error_message,
        log: evaluation.log,
        status: evaluation.status.into(),
        run_id,
        plan_id,
        only_audits: evaluation.only_audits,
        interval_start: evaluation.interval_start.map(Into::into),
        interval_end: evaluation.interval_end.map(Into::into),
        rows_processed: evaluation.rows_processed.and_then(|rows| rows.try_into().ok()),
        ..tobiko_api::Evaluation::default()
    }
}

/// `number` counts the evaluation's audits from 1.
fn audit_evaluation(audit: &Audit, of: &EvaluationOf<'_>, number: usize, links: &Links) -> AuditEvaluation {
    AuditEvaluation {
        link: Some(links.audit(of, number, EvaluationTab::Overview)),
        log_link: Some(links.audit(of, number, EvaluationTab::Log)),
        name: audit.name.clone(),
        execution_time: Some(audit.execution_time.into()),
        interval_start: Some(audit.interval_start.into()),
        interval_end: Some(audit.interval_end.into()),
        status: audit.status.into(),
        log: audit.log.clone(),
        args: audit.args.clone(),
        blocking: Some(audit.blocking),
        failing_rows: audit.count.and_then(|count| count.try_into().ok()),
        duration_seconds: audit.duration_seconds,
        log_is_query: audit.log.is_some(),
    }
}

impl From<NodeAudit> for DagAudit {
    fn from(audit: NodeAudit) -> Self {
        Self { name: audit.name, args: audit.args, blocking: audit.blocking, query: audit.query }
    }
}

impl From<Status> for tobiko_api::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Scheduled => Self::Scheduled,
            Status::InProgress => Self::InProgress,
            Status::Skipped => Self::Skipped,
            Status::Success => Self::Success,
            Status::Failed => Self::Failed,
            Status::Preempted => Self::Preempted,
            Status::Aborted => Self::Aborted,
        }
    }
}

impl From<SourceType> for tobiko_api::SourceType {
    fn from(source_type: SourceType) -> Self {
        match source_type {
            SourceType::Sql => Self::Sql,
            SourceType::Seed => Self::Seed,
            SourceType::Python => Self::Python,
            SourceType::External => Self::External,
            SourceType::Audit => Self::Audit,
        }
    }
}

impl From<NodeType> for tobiko_api::NodeType {
    fn from(node_type: NodeType) -> Self {
        match node_type {
            NodeType::Model => Self::Model,
            NodeType::Audit => Self::Audit,
        }
    }
}
