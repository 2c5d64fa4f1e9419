//! What the pages about one run or plan are made of, and which of their tabs a link opens.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Deserialize;

use super::{PageError, Pages};
use crate::store::{Activity, Dag, Evaluation, EvaluationFilter, Kind, queries};

/// A run or plan with all that belongs to it.
pub(super) struct Facts {
    pub activity: Activity,
    pub evaluations: Vec<Evaluation>,
    /// The environment's DAG as it is now.
    pub dag: Option<Dag>,
}

/// An environment, and the id of a run or plan.
pub(super) type ActivityPath = Result<Path<(String, String)>, PathRejection>;

/// The tabs as the links name them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tabs {
    pub tab: Option<String>,
    pub tab_summary: Option<String>,
    pub model_name: Option<String>,
    pub evaluation_id: Option<String>,
    pub tab_evaluation: Option<String>,
}

impl Facts {
    /// # Errors
    /// There is no such run or plan, or the database failed.
    pub async fn read(pages: &Pages, kind: Kind, path: ActivityPath) -> Result<Self, PageError> {
        let name = kind.as_str();
        let Ok(Path((environment, id))) = path else {
            return Err(PageError::NotFound(format!("This is not the address of a {name}.")));
        };
        let message = format!("No {name} {id:?} has been recorded in environment {environment:?}.");
        let project = pages.project;
        let facts = pages.store.read(move |connection| {
            let activity = queries::activity(connection, kind, &id)?;
            let Some(activity) = activity.filter(|one| one.project == project && one.environment == environment) else {
                return Ok(None);
            };
            let mut filter = EvaluationFilter { project, ..EvaluationFilter::default() };
            match kind {
                Kind::Run => filter.run_id = Some(id),
                Kind::Plan => filter.plan_id = Some(id),
            }
            Ok(Some(Facts {
                activity,
                evaluations: queries::evaluations(connection, &filter)?,
                dag: queries::dag(connection, project, &environment)?,
            }))
        });
        facts.await?.ok_or(PageError::NotFound(message))
    }
}

/// As a heading has it.
pub(super) fn capital(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "Run",
        Kind::Plan => "Plan",
    }
}
