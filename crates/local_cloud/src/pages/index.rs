//! `/`: the environments and the newest runs, or how to get some.

use askama::Template;
use axum::response::Response;

use super::rows::ActivityRow;
use super::scope::ScopedPages;
use super::{Frame, Link, PageError, Pages, answer};
use crate::store::{ActivityFilter, Kind, queries};

const NEWEST_RUNS: u32 = 20;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    frame: Frame,
    base_url: String,
    environments: Vec<Card>,
    runs: Vec<ActivityRow>,
    /// Every page's table of runs can say where they were.
    with_environment: bool,
}

struct Card {
    link: Link,
    nodes: i64,
    last_run: Option<ActivityRow>,
}

pub(super) async fn show(ScopedPages(pages): ScopedPages) -> Response {
    answer(&pages, page(&pages).await)
}

async fn page(pages: &Pages) -> Result<IndexPage, PageError> {
    let links = pages.links.clone();
    let project = pages.project;
    let (environments, runs) = pages
        .store
        .read(move |connection| {
            let newest_runs = |environment: Option<String>, limit: u32| {
                let filter =
                    ActivityFilter { project, kind: Kind::Run, environment, after: None, newest_first: true, limit };
                queries::activities(connection, &filter)?
                    .iter()
                    .map(|run| {
                        let evaluations = queries::count_evaluations(connection, run.seq)?;
                        Ok(ActivityRow::new(run, evaluations, &links))
                    })
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            let mut cards = Vec::new();
            for environment in queries::environments(connection, project)? {
                cards.push(Card {
                    link: Link::new(&environment.name, links.environment(&environment.name)),
                    nodes: environment.nodes,
                    last_run: newest_runs(Some(environment.name), 1)?.pop(),
                });
            }
            Ok((cards, newest_runs(None, NEWEST_RUNS)?))
        })
        .await?;
    Ok(IndexPage {
        frame: Frame::new(pages, "Environments", Vec::new()),
        base_url: pages.base_url.to_string(),
        environments,
        runs,
        with_environment: true,
    })
}
