//! `/environments/{environment}/runs/{id}`, and the same for plans: the summary with its tabs, or the debugger view.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::rows::{ActivityRow, AuditCounts, AuditRow, EvaluationRow, Pill, model_names, shown};
use super::{Frame, Link, NoPage, Pages, answer, debugger};
use crate::moment::Moment;
use crate::store::{Activity, Dag, Evaluation, EvaluationFilter, Kind, Status, ask};

/// More rows than anybody reads.
const MOST_ROWS: usize = 2000;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    frame: Frame,
    row: ActivityRow,
    error: String,
    tab: SummaryTab,
    executions_url: String,
    audits_url: String,
    counts: Counts,
    evaluations: Vec<EvaluationRow>,
    audits: Vec<AuditRow>,
    /// Rows that are left out.
    more: usize,
    with_model: bool,
    with_origin: bool,
    with_bar: bool,
}

#[derive(Default)]
struct Counts {
    nodes: usize,
    evaluations: usize,
    failed: usize,
    open: usize,
    audits: AuditCounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SummaryTab {
    Executions,
    Audits,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Tabs {
    tab: Option<String>,
    tab_summary: Option<String>,
    pub model_name: Option<String>,
    pub evaluation_id: Option<String>,
    pub tab_evaluation: Option<String>,
}

type ActivityPath = Result<Path<(String, String)>, PathRejection>;
type ActivityQuery = Result<Query<Tabs>, QueryRejection>;

pub(super) async fn show_run(State(pages): State<Pages>, path: ActivityPath, query: ActivityQuery) -> Response {
    show(&pages, Kind::Run, path, query).await
}

pub(super) async fn show_plan(State(pages): State<Pages>, path: ActivityPath, query: ActivityQuery) -> Response {
    show(&pages, Kind::Plan, path, query).await
}

/// A run or plan with all that belongs to it.
pub(super) struct Facts {
    pub activity: Activity,
    pub evaluations: Vec<Evaluation>,
    /// The environment's DAG as it is now.
    pub dag: Option<Dag>,
}

async fn show(pages: &Pages, kind: Kind, path: ActivityPath, query: ActivityQuery) -> Response {
    let tabs = query.map(|Query(tabs)| tabs).unwrap_or_default();
    let facts = match facts(pages, kind, path).await {
        Ok(facts) => facts,
        Err(no_page) => return answer(pages, Err::<ActivityPage, _>(no_page)),
    };
    let explores = tabs.evaluation_id.is_some() || tabs.model_name.is_some();
    match tabs.tab.as_deref() {
        Some("explore") if explores => answer(pages, debugger::page(pages, &facts, &tabs)),
        _ => answer(pages, Ok(summary(pages, &facts, &tabs))),
    }
}

async fn facts(pages: &Pages, kind: Kind, path: ActivityPath) -> Result<Facts, NoPage> {
    let word = kind.as_str();
    let Ok(Path((environment, id))) = path else {
        return Err(NoPage::NotFound(format!("This is no {word}.")));
    };
    let message = format!("Nothing has been recorded of a {word} {id:?} in environment {environment:?}.");
    let facts = pages.store.read(move |connection| {
        let activity = ask::activity(connection, kind, &id)?;
        let Some(activity) = activity.filter(|activity| activity.environment == environment) else {
            return Ok(None);
        };
        let mut filter = EvaluationFilter::default();
        match kind {
            Kind::Run => filter.run_id = Some(id),
            Kind::Plan => filter.plan_id = Some(id),
        }
        Ok(Some(Facts {
            activity,
            evaluations: ask::evaluations(connection, &filter)?,
            dag: ask::dag(connection, &environment)?,
        }))
    });
    facts.await?.ok_or(NoPage::NotFound(message))
}

fn summary(pages: &Pages, facts: &Facts, tabs: &Tabs) -> ActivityPage {
    let (links, activity) = (&pages.links, &facts.activity);
    let (kind, environment, id) = (activity.kind, &activity.environment, &activity.id);
    let names = model_names(facts.dag.as_ref());
    let span = span(activity, &facts.evaluations);
    let tab = match tabs.tab_summary.as_deref() {
        Some("audits") => SummaryTab::Audits,
        _ => SummaryTab::Executions,
    };
    let (mut evaluations, mut audits) = (Vec::new(), Vec::new());
    match tab {
        SummaryTab::Executions => {
            let all = facts.evaluations.iter();
            evaluations.extend(all.map(|one| EvaluationRow::new(one, &names, span, links)));
        }
        SummaryTab::Audits => {
            let all = facts.evaluations.iter();
            audits.extend(all.flat_map(|one| AuditRow::all_of(one, &names, links)));
        }
    }
    let more = (evaluations.len() + audits.len()).saturating_sub(MOST_ROWS);
    evaluations.truncate(MOST_ROWS);
    audits.truncate(MOST_ROWS);

    let title = format!("{} {id}", capital(kind));
    let crumbs = vec![Link::new(environment, links.environment(environment))];
    let mut frame = Frame::new(pages, title, crumbs);
    frame.refresh = activity.end_at.is_none();
    ActivityPage {
        frame,
        row: ActivityRow::new(activity, 0, links),
        error: shown(activity.error_message.as_deref()),
        tab,
        executions_url: links.executions(kind, environment, id),
        audits_url: links.audits(kind, environment, id),
        counts: counts(&facts.evaluations),
        evaluations,
        audits,
        more,
        with_model: true,
        with_origin: false,
        with_bar: true,
    }
}

/// From the first beginning to the last end, or to now.
fn span(activity: &Activity, evaluations: &[Evaluation]) -> Option<(Moment, Moment)> {
    let starts = evaluations.iter().filter_map(|evaluation| evaluation.start_at);
    let from = activity.start_at.into_iter().chain(starts).min()?;
    let ends = evaluations.iter().filter_map(|evaluation| evaluation.end_at);
    let own = activity.end_at.unwrap_or_else(Moment::now);
    Some((from, ends.chain([own]).max()?))
}

fn counts(evaluations: &[Evaluation]) -> Counts {
    let mut counts = Counts::default();
    let mut nodes = std::collections::HashSet::new();
    for evaluation in evaluations {
        nodes.insert(&evaluation.node_name);
        counts.evaluations += 1;
        counts.failed += usize::from(evaluation.status == Status::Failed);
        counts.open += usize::from(Pill::of_evaluation(evaluation).class == "running");
    }
    counts.audits = AuditCounts::new(evaluations.iter().flat_map(|evaluation| &evaluation.audits));
    counts.nodes = nodes.len();
    counts
}

pub(super) fn capital(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "Run",
        Kind::Plan => "Plan",
    }
}
