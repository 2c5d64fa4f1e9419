//! How a plan failed: a local cloud says it of the plan, Tobiko Cloud of its evaluations.

use anyhow::{Context, Result};
use tobiko_client::{Client, Evaluation, EvaluationsQuery};

/// How many failed nodes are named.
const MOST: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFailure {
    pub message: String,
    pub link: Option<String>,
}

/// How the plan failed; `None`: it did not, or the cloud knows nothing of it.
pub async fn plan_failure(client: &Client, plan_id: &str) -> Result<Option<PlanFailure>> {
    let query = EvaluationsQuery { plan_id: Some(plan_id.to_owned()), ..EvaluationsQuery::default() };
    let plan = client.plan(plan_id).await.context("cannot get the plan")?;
    if plan.as_ref().is_some_and(|plan| !plan.failed()) {
        return Ok(None);
    }
    let evaluations = client.evaluations(&query).await.context("cannot get the plan's evaluations")?;
    let of_nodes = of_evaluations(plan_id, &evaluations);
    let Some(plan) = plan else {
        return Ok(of_nodes);
    };
    let message = plan.error_message.unwrap_or_else(|| format!("it ended as '{}'", plan.status));
    let nodes = of_nodes.map(|failure| format!("\n{}", failure.message)).unwrap_or_default();
    Ok(Some(PlanFailure { message: format!("plan {plan_id} failed: {message}{nodes}"), link: plan.link }))
}

fn of_evaluations(plan_id: &str, evaluations: &[Evaluation]) -> Option<PlanFailure> {
    // The query may not be honored.
    let failed: Vec<&Evaluation> =
        evaluations.iter().filter(|one| one.plan_id.as_deref() == Some(plan_id) && one.failed()).collect();
    let first = failed.first()?;
    let line = |one: &&Evaluation| format!("{}: {}", one.node_name, one.error_message.as_deref().unwrap_or("failed"));
    let mut lines: Vec<String> = failed.iter().take(MOST).map(line).collect();
    if failed.len() > MOST {
        lines.push(format!("and {} more", failed.len() - MOST));
    }
    let message = format!("{} evaluations failed in plan {plan_id}:\n{}", failed.len(), lines.join("\n"));
    Some(PlanFailure { message, link: first.link.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_evaluations_of_the_plan_are_named() {
        let evaluation = |node: &str, plan: &str, message: Option<&str>| Evaluation {
            node_name: node.to_owned(),
            plan_id: Some(plan.to_owned()),
            error_message: message.map(str::to_owned),
            link: Some(format!("http://{node}")),
            ..Evaluation::default()
        };
        let evaluations =
            [evaluation("a", "p", None), evaluation("b", "p", Some("boom")), evaluation("c", "other", Some("no"))];
        let failure = of_evaluations("p", &evaluations).unwrap();
        assert_eq!(failure.message, "1 evaluations failed in plan p:\nb: boom");
        assert_eq!(failure.link.as_deref(), Some("http://b"));
        assert_eq!(of_evaluations("q", &evaluations), None);
    }
}
