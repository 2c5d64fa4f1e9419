//! What plans have done since the cursor: what a plan evaluates belongs to no run, and a sync copies it.
//!
//! A local cloud lists the plans that have ended, numbered by their ends. Of Tobiko Cloud, the newest evaluation is requested;
//! where it is not the one that was seen last, the newest ones are searched for those that carry a plan's id.

use anyhow::{Context, Result};
use tobiko_client::{Client, Evaluation, EvaluationsQuery, Plan, PlansQuery, Sort};

use super::cursor::PlanMarks;

/// How many of the newest evaluations are searched.
const RECENT: u32 = 200;
/// How many open evaluations are remembered at most.
const MOST_OPEN: usize = 100;

/// Where plans stand, and which one a sync is due for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanNews {
    pub marks: PlanMarks,
    /// Its id.
    pub due: Option<String>,
}

/// Requests what plans have done. One small request when there is nothing new.
pub async fn fetch(client: &Client, environment: &str, marks: &PlanMarks) -> Result<PlanNews> {
    // An answer has come by now, so it is known whose.
    if client.is_local_cloud() {
        of_local_cloud(client, environment, marks).await
    } else {
        of_evaluations(client, environment, marks).await
    }
}

async fn of_local_cloud(client: &Client, environment: &str, marks: &PlanMarks) -> Result<PlanNews> {
    let context = "cannot get the environment's plans";
    let query = |since_seq, limit, sort| PlansQuery { environment: environment.to_owned(), since_seq, limit, sort };
    let newest = client.plans(&query(None, Some(1), Some(Sort::Desc))).await.context(context)?;
    let nothing = PlanNews { marks: marks.clone(), due: None };
    let Some(newest) = newest else {
        return Ok(nothing);
    };
    let newest_seq = newest.first().and_then(|plan| plan.seq).unwrap_or_default();
    match marks.seq {
        None => Ok(PlanNews { marks: PlanMarks { seq: Some(newest_seq), ..marks.clone() }, due: None }),
        Some(seen) if seen == newest_seq => Ok(nothing),
        Some(seen) => {
            // Smaller than what was seen: the server began anew.
            let since = if newest_seq < seen { 0 } else { seen };
            let plans = client.plans(&query(Some(since), None, Some(Sort::Asc))).await.context(context)?;
            Ok(first_due(&plans.unwrap_or_default()).map_or(nothing, |(due, seq)| PlanNews {
                marks: PlanMarks { seq: Some(seq), ..marks.clone() },
                due: Some(due),
            }))
        }
    }
}

/// The first that failed, since each failure is shown; else the newest, whose sync copies what those before it did.
fn first_due(plans: &[Plan]) -> Option<(String, u64)> {
    let plan = plans.iter().find(|plan| plan.failed()).or(plans.last())?;
    Some((plan.plan_id.clone(), plan.seq?))
}

async fn of_evaluations(client: &Client, environment: &str, marks: &PlanMarks) -> Result<PlanNews> {
    let query = |limit| EvaluationsQuery {
        environment: Some(environment.to_owned()),
        sort: Some(Sort::Desc),
        limit: Some(limit),
        ..EvaluationsQuery::default()
    };
    let newest = client.evaluations(&query(1)).await.context("cannot get the environment's newest evaluation")?;
    let newest = newest.first().map(|evaluation| evaluation.evaluation_id.as_str());
    if newest == marks.evaluation.as_deref() && marks.open.is_empty() && marks.due.is_none() {
        return Ok(PlanNews { marks: marks.clone(), due: None });
    }
    let recent = client.evaluations(&query(RECENT)).await.context("cannot get the environment's newest evaluations")?;
    Ok(since(marks, &recent))
}

/// What the newest evaluations (newest first) say. A sync is due when a plan's evaluations have ended, and no other is open or
/// nothing has changed since the tick before: a long plan is copied now and then, not with each of its evaluations.
fn since(marks: &PlanMarks, recent: &[Evaluation]) -> PlanNews {
    let newest = recent.first().map(|evaluation| evaluation.evaluation_id.clone());
    let Some(seen) = &marks.evaluation else {
        // The first time: what there is has been synced, or is about to be.
        let open = open(recent.iter());
        let evaluation = newest.or(Some(String::new()));
        return PlanNews { marks: PlanMarks { evaluation, open, ..marks.clone() }, due: None };
    };
    let is_new = |evaluation: &&Evaluation| marks.open.contains(&evaluation.evaluation_id);
    let new: Vec<&Evaluation> = recent
        .iter()
        .take_while(|evaluation| evaluation.evaluation_id != *seen)
        .chain(recent.iter().skip_while(|evaluation| evaluation.evaluation_id != *seen).filter(is_new))
        .filter(|evaluation| evaluation.plan_id.is_some())
        .collect();
    let open = open(new.iter().copied());
    let ended = new.iter().find(|evaluation| evaluation.ended()).and_then(|evaluation| evaluation.plan_id.clone());
    let has_changed = ended.is_some() || open != marks.open;
    let due = ended.or(marks.due.clone());
    let evaluation = newest.or(Some(seen.clone()));
    if due.is_some() && (open.is_empty() || !has_changed) {
        PlanNews { marks: PlanMarks { evaluation, open, due: None, ..marks.clone() }, due }
    } else {
        PlanNews { marks: PlanMarks { evaluation, open, due, ..marks.clone() }, due: None }
    }
}

/// The open evaluations of plans.
fn open<'a>(evaluations: impl Iterator<Item = &'a Evaluation>) -> Vec<String> {
    let open = evaluations.filter(|evaluation| evaluation.plan_id.is_some() && !evaluation.ended());
    open.take(MOST_OPEN).map(|evaluation| evaluation.evaluation_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use tobiko_client::Status;

    use super::*;

    /// Newest first: `id` of a run, `id@plan` of a plan; with a `+`, it has ended.
    fn evaluations(texts: &str) -> Vec<Evaluation> {
        let evaluation = |text: &str| {
            let (id, plan) = text.trim_end_matches('+').split_once('@').unwrap_or((text, ""));
            Evaluation {
                evaluation_id: id.trim_end_matches('+').to_owned(),
                plan_id: Some(plan.to_owned()).filter(|plan| !plan.is_empty()),
                status: if text.ends_with('+') { Status::Success } else { Status::InProgress },
                ..Evaluation::default()
            }
        };
        texts.split_whitespace().map(evaluation).collect()
    }

    /// Ticks, each with the newest evaluations, and the plan that a sync is due for.
    #[track_caller]
    fn check(ticks: &[(&str, Option<&str>)]) {
        let mut marks = PlanMarks::default();
        for (at, (texts, due)) in ticks.iter().enumerate() {
            let news = since(&marks, &evaluations(texts));
            assert_eq!(news.due.as_deref(), *due, "tick {at}");
            marks = news.marks;
        }
    }

    #[test]
    fn what_was_there_before_the_first_tick_is_not_news() {
        check(&[("b@p+ a+", None), ("b@p+ a+", None)]);
        check(&[("", None), ("a@p+", Some("p")), ("a@p+", None)]);
    }

    #[test]
    fn a_plan_between_two_runs_is_found() {
        check(&[("a+", None), ("d c@p+ b@p+ a+", Some("p")), ("e d+ c@p+ b@p+ a+", None)]);
    }

    #[test]
    fn a_plan_in_progress_is_copied_when_it_pauses_and_when_it_has_ended() {
        check(&[
            ("a+", None),
            ("b@p a+", None),
            ("c@p b@p+ a+", None),
            ("c@p b@p+ a+", Some("p")),
            ("c@p b@p+ a+", None),
            ("c@p+ b@p+ a+", Some("p")),
            ("c@p+ b@p+ a+", None),
        ]);
    }

    #[test]
    fn an_evaluation_that_was_open_before_the_newest_is_not_forgotten() {
        check(&[("a@p", None), ("b@p+ a@p", None), ("b@p+ a@p", Some("p")), ("b@p+ a@p+", Some("p"))]);
    }

    #[test]
    fn of_several_plans_each_failure_is_shown_and_the_newest_success() {
        let plan = |id: &str, seq, status| Plan { plan_id: id.to_owned(), seq: Some(seq), status, ..Plan::default() };
        let plans = [plan("a", 1, Status::Success), plan("b", 2, Status::Failed), plan("c", 3, Status::Success)];
        assert_eq!(first_due(&plans), Some(("b".to_owned(), 2)));
        assert_eq!(first_due(&plans[2..]), Some(("c".to_owned(), 3)));
        assert_eq!(first_due(&[]), None);
    }
}
