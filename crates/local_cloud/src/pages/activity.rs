//! `/environments/{environment}/runs/{id}`, and the same for plans: the summary with its tabs, or the debugger view.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;

use super::facts::{ActivityPath, Facts, Tabs, capital};
use super::rows::{ActivityRow, AuditCounts, AuditRow, EvaluationRow, StatusBadge, model_names, shown};
use super::scope::ScopedPages;
use super::{Frame, Link, Pages, answer, debugger};
use crate::store::{Activity, Evaluation, Kind, Status};
use crate::timestamp::Timestamp;

/// More rows than anybody reads; the rest is counted.
const MAX_ROWS: usize = 2000;

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

type ActivityQuery = Result<Query<Tabs>, QueryRejection>;

pub(super) async fn show_run(ScopedPages(pages): ScopedPages, path: ActivityPath, query: ActivityQuery) -> Response {
    show(&pages, Kind::Run, path, query).await
}

pub(super) async fn show_plan(ScopedPages(pages): ScopedPages, path: ActivityPath, query: ActivityQuery) -> Response {
    show(&pages, Kind::Plan, path, query).await
}

async fn show(pages: &Pages, kind: Kind, path: ActivityPath, query: ActivityQuery) -> Response {
    let tabs = query.map(|Query(tabs)| tabs).unwrap_or_default();
    let facts = match Facts::read(pages, kind, path).await {
        Ok(facts) => facts,
        Err(error) => return answer(pages, Err::<ActivityPage, _>(error)),
    };
    let explores = tabs.evaluation_id.is_some() || tabs.model_name.is_some();
    match tabs.tab.as_deref() {
        Some("explore") if explores => answer(pages, debugger::page(pages, &facts, &tabs)),
        _ => answer(pages, Ok(summary(pages, &facts, &tabs))),
    }
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
    let more = (evaluations.len() + audits.len()).saturating_sub(MAX_ROWS);
    evaluations.truncate(MAX_ROWS);
    audits.truncate(MAX_ROWS);

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
fn span(activity: &Activity, evaluations: &[Evaluation]) -> Option<(Timestamp, Timestamp)> {
    let starts = evaluations.iter().filter_map(|evaluation| evaluation.start_at);
    let from = activity.start_at.into_iter().chain(starts).min()?;
    let ends = evaluations.iter().filter_map(|evaluation| evaluation.end_at);
    let own = activity.end_at.unwrap_or_else(Timestamp::now);
    Some((from, ends.chain([own]).max()?))
}

fn counts(evaluations: &[Evaluation]) -> Counts {
    let mut counts = Counts::default();
    let mut nodes = std::collections::HashSet::new();
    for evaluation in evaluations {
        nodes.insert(&evaluation.node_name);
        counts.evaluations += 1;
        counts.failed += usize::from(evaluation.status == Status::Failed);
        counts.open += usize::from(StatusBadge::of_evaluation(evaluation).class == "running");
    }
    counts.audits = AuditCounts::new(evaluations.iter().flat_map(|evaluation| &evaluation.audits));
    counts.nodes = nodes.len();
    counts
}
