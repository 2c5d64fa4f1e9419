//! The objects of the V1 API.

use serde::Serialize;

use crate::links::{EvaluationOf, EvaluationTab, Links};
use crate::moment::Moment;
use crate::store::{Activity, Audit, Dag, Evaluation, Kind, Node, NodeType, SourceType, Status};

#[derive(Serialize)]
pub(crate) struct DagAnswer {
    environment: String,
    start_at: Moment,
    schedule_seconds: i64,
    schedule_cron: String,
    nodes: Vec<DagNodeAnswer>,
    link: String,
}

#[derive(Serialize)]
struct DagNodeAnswer {
    link: String,
    name: String,
    model_name: String,
    description: Option<String>,
    source_type: SourceType,
    tags: Vec<String>,
    parent_names: Vec<String>,
    audit_names: Vec<String>,
    #[serde(rename = "type")]
    node_type: NodeType,
}

#[derive(Serialize)]
pub(crate) struct RunAnswer {
    link: String,
    environment: String,
    run_id: String,
    start_at: Option<Moment>,
    end_at: Option<Moment>,
    error_message: Option<String>,
    status: Status,
}

#[derive(Serialize)]
pub(crate) struct EvaluationAnswer {
    link: String,
    log_link: String,
    audits: Vec<AuditAnswer>,
    evaluation_id: String,
    node_name: String,
    start_at: Option<Moment>,
    end_at: Option<Moment>,
    error_message: Option<String>,
    log: Option<String>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<String>,
}

#[derive(Serialize)]
struct AuditAnswer {
    link: String,
    log_link: String,
    name: String,
    execution_time: Moment,
    interval_start: Moment,
    interval_end: Moment,
    status: Status,
    log: Option<String>,
}

impl DagAnswer {
    pub fn new(dag: Dag, links: &Links) -> Self {
        let environment = dag.environment.as_str();
        let nodes = dag.nodes.into_iter();
        Self {
            nodes: nodes.map(|node| DagNodeAnswer::new(node, environment, links)).collect(),
            link: links.environment(environment),
            start_at: dag.start_at,
            schedule_seconds: dag.schedule_seconds,
            schedule_cron: dag.schedule_cron,
            environment: dag.environment,
        }
    }
}

impl DagNodeAnswer {
    fn new(node: Node, environment: &str, links: &Links) -> Self {
        Self {
            link: links.model(environment, &node.name, Some(&node.version)),
            name: node.name,
            model_name: node.model_name,
            description: node.description,
            source_type: node.source_type,
            tags: node.tags,
            parent_names: node.parent_names,
            audit_names: node.audit_names,
            node_type: node.node_type,
        }
    }
}

impl RunAnswer {
    pub fn new(run: Activity, links: &Links) -> Self {
        Self {
            link: links.executions(run.kind, &run.environment, &run.id),
            environment: run.environment,
            run_id: run.id,
            start_at: run.start_at,
            end_at: run.end_at,
            error_message: run.error_message,
            status: run.status,
        }
    }
}

impl EvaluationAnswer {
    pub fn new(evaluation: Evaluation, links: &Links) -> Self {
        let of = EvaluationOf::from(&evaluation);
        let link = links.evaluation(&of, EvaluationTab::Overview);
        let log_link = links.evaluation(&of, EvaluationTab::Log);
        let audits = evaluation.audits.iter().zip(1..);
        let audits = audits.map(|(audit, number)| AuditAnswer::new(audit, &of, number, links)).collect();
        let (run_id, plan_id) = match evaluation.kind {
            Kind::Run => (Some(evaluation.activity_id), None),
            Kind::Plan => (None, Some(evaluation.activity_id)),
        };
        Self {
            link,
            log_link,
            audits,
            evaluation_id: evaluation.id,
            node_name: evaluation.node_name,
            start_at: evaluation.start_at,
            end_at: evaluation.end_at,
            error_message: evaluation.error_message,
            log: evaluation.log,
            status: evaluation.status,
            run_id,
            plan_id,
        }
    }
}

impl AuditAnswer {
    /// `number` counts the evaluation's audits from 1.
    fn new(audit: &Audit, of: &EvaluationOf<'_>, number: usize, links: &Links) -> Self {
        Self {
            link: links.audit(of, number, EvaluationTab::Overview),
            log_link: links.audit(of, number, EvaluationTab::Log),
            name: audit.name.clone(),
            execution_time: audit.execution_time,
            interval_start: audit.interval_start,
            interval_end: audit.interval_end,
            status: audit.status,
            log: audit.log.clone(),
        }
    }
}
