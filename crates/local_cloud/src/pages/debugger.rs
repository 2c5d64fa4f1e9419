//! The debugger view of one evaluation: what it did, why it failed, what its audits found.

use askama::Template;

use super::definition::Definition;
use super::facts::{Facts, Tabs, capital};
use super::rows::{AuditRow, StatusBadge, interval, model_name, model_names, shown, time};
use super::{Frame, Link, PageError, Pages};
use crate::links::{EvaluationOf, EvaluationTab, Links};
use crate::store::Evaluation;
use crate::timestamp::duration_for_people;

#[derive(Template)]
#[template(path = "debugger.html")]
pub(super) struct DebuggerPage {
    frame: Frame,
    model: String,
    node_name: String,
    model_url: String,
    activity_kind: &'static str,
    badge: StatusBadge,
    tab: EvaluationTab,
    overview_url: String,
    error_url: String,
    log_url: String,
    evaluation_id: String,
    only_audits: bool,
    interval: String,
    start: String,
    end: String,
    duration: String,
    /// The node's evaluations in this run or plan, when there are several.
    batches: Vec<Batch>,
    error: String,
    log: String,
    audits: Vec<AuditRow>,
    definition: Option<Definition>,
    version: String,
}

struct Batch {
    number: usize,
    url: String,
    badge: StatusBadge,
    current: bool,
}

pub(super) fn page(pages: &Pages, facts: &Facts, tabs: &Tabs) -> Result<DebuggerPage, PageError> {
    let Some(evaluation) = chosen(facts, tabs) else {
        let message = "Nothing has been recorded of this evaluation. One that was scheduled and never started goes \
                       when its run ends.";
        return Err(PageError::NotFound(message.to_owned()));
    };
    let links = &pages.links;
    let of = EvaluationOf::from(evaluation);
    let names = model_names(facts.dag.as_ref());
    let model = model_name(&names, &evaluation.node_name);
    let summary = links.executions(of.kind, of.environment, of.activity_id);
    let crumbs = vec![
        Link::new(of.environment, links.environment(of.environment)),
        Link::new(format!("{} {}", capital(of.kind), of.activity_id), summary),
    ];
    let mut frame = Frame::new(pages, &model, crumbs);
    frame.refresh = evaluation.end_at.is_none() && !evaluation.activity_ended;
    let mut nodes = facts.dag.iter().flat_map(|dag| &dag.nodes);
    let node = nodes.find(|node| node.name == evaluation.node_name);
    Ok(DebuggerPage {
        frame,
        model,
        node_name: evaluation.node_name.clone(),
        model_url: links.model(of.environment, of.node_name, Some(&evaluation.version)),
        activity_kind: of.kind.as_str(),
        badge: StatusBadge::of_evaluation(evaluation),
        tab: match tabs.tab_evaluation.as_deref() {
            Some("error") => EvaluationTab::Error,
            Some("log") => EvaluationTab::Log,
            _ => EvaluationTab::Overview,
        },
        overview_url: links.evaluation(&of, EvaluationTab::Overview),
        error_url: links.evaluation(&of, EvaluationTab::Error),
        log_url: links.evaluation(&of, EvaluationTab::Log),
        evaluation_id: evaluation.id.clone(),
        only_audits: evaluation.only_audits,
        interval: interval(evaluation.interval_start, evaluation.interval_end),
        start: time(evaluation.start_at),
        end: time(evaluation.end_at),
        duration: duration_for_people(evaluation.start_at, evaluation.end_at),
        batches: batches(facts, evaluation, links),
        error: shown(evaluation.error_message.as_deref()),
        log: shown(evaluation.log.as_deref()),
        audits: AuditRow::all_of(evaluation, &names, links),
        definition: node.zip(facts.dag.as_ref()).map(|(node, dag)| Definition::new(node, dag, links)),
        version: evaluation.version.clone(),
    })
}

/// The evaluation that the link names; with a model's name alone, the model's newest.
fn chosen<'a>(facts: &'a Facts, tabs: &Tabs) -> Option<&'a Evaluation> {
    let of_model = |name: &String| {
        let mut newest_first = facts.evaluations.iter().rev();
        newest_first.find(|evaluation| evaluation.node_name == *name)
    };
    match (&tabs.evaluation_id, &tabs.model_name) {
        (Some(id), _) => facts.evaluations.iter().find(|evaluation| evaluation.id == *id),
        (None, Some(name)) => of_model(name),
        (None, None) => None,
    }
}

fn batches(facts: &Facts, current: &Evaluation, links: &Links) -> Vec<Batch> {
    let same_node = facts.evaluations.iter();
    let same_node = same_node.filter(|evaluation| evaluation.node_name == current.node_name);
    let batches: Vec<Batch> = same_node
        .zip(1..)
        .map(|(evaluation, number)| Batch {
            number,
            url: links.evaluation(&EvaluationOf::from(evaluation), EvaluationTab::Overview),
            badge: StatusBadge::of_evaluation(evaluation),
            current: evaluation.id == current.id,
        })
        .collect();
    match batches.len() {
        1 => Vec::new(),
        _ => batches,
    }
}
