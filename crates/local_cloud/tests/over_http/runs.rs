//! `GET /runs` and `GET /runs/{run_id}`

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::events::{ORDERS, at, ended, plan, run};

/// Three runs in prod, one in dev, and a plan.
async fn three_runs() -> Cloud {
    let cloud = Cloud::start().await;
    for (second, one) in [(1, run("r1")), (2, run("r2")), (3, run("d1").of("dev")), (4, run("r3"))] {
        cloud.ingest(&[one.started(second * 10)]).await;
    }
    cloud.ingest(&[plan("p1").started(50)]).await;
    cloud
}

#[tokio::test]
async fn a_run_is_followed_from_its_start_to_its_end() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").started(10)]).await;
    let link = format!("{}/environments/prod/runs/r1?tab=summary&tab_summary=executions", cloud.base);
    let open = json!({"environment": "prod", "run_id": "r1", "start_at": at(10), "end_at": null,
                      "error_message": null, "status": "in_progress", "link": link, "seq": 1});
    assert_eq!(cloud.get("/runs/r1").await, open);

    cloud.ingest(&[run("r1").ended(20, "failed", Some("1 of 2 models failed"))]).await;
    let over = json!({"environment": "prod", "run_id": "r1", "start_at": at(10), "end_at": at(20),
                      "error_message": "1 of 2 models failed", "status": "failed", "link": link, "seq": 1});
    assert_eq!(cloud.get("/runs/r1").await, over);
    assert_eq!(cloud.get("/runs?environment=prod").await, json!([over]));
}

#[tokio::test]
async fn lists_are_sorted_filtered_and_limited() {
    let cloud = three_runs().await;
    let check = async |query: &str, expected: &[&str]| {
        let ids = cloud.column(&format!("/runs{query}"), "run_id").await;
        assert_eq!(ids, expected, "{query}");
    };
    check("", &["r3", "d1", "r2", "r1"]).await;
    check("?environment=prod", &["r3", "r2", "r1"]).await;
    check("?environment=prod&sort=desc&limit=2", &["r3", "r2"]).await;
    check("?environment=prod&sort=asc&limit=2", &["r1", "r2"]).await;
    check("?environment=prod&last=true&limit=1", &["r3"]).await;
    check("?environment=dev&last=true", &["d1"]).await;
    check("?environment=prod&last=true&sort=asc", &["r3"]).await;
    check("?environment=prod&last=false", &["r3", "r2", "r1"]).await;
    check("?environment=prod&since_run_id=r1", &["r3", "r2"]).await;
    check("?environment=prod&since_run_id=r1&sort=asc&limit=1", &["r2"]).await;
    check("?environment=prod&since_run_id=r1&last=true", &["r3"]).await;
    check("?since_run_id=r2", &["r3", "d1"]).await;
    check("?environment=prod&since_run_id=r3", &[]).await;
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let cloud = three_runs().await;
    assert!(cloud.missing("/runs/p1").await.contains("p1"));
    assert!(cloud.missing("/runs?since_run_id=gone").await.contains("\"gone\" does not exist"));
    cloud.missing("/runs?environment=nowhere").await;
    cloud.missing("/runs?environment=nowhere&last=true").await;
}

#[tokio::test]
async fn a_hundred_runs_are_listed_unless_more_are_asked_for() {
    let cloud = Cloud::start().await;
    let names: Vec<&'static str> = (0..120).map(|n| &*format!("r{n}").leak()).collect();
    let events: Vec<Value> = names.iter().map(|name| run(name).started(1)).collect();
    cloud.ingest(&events).await;
    assert_eq!(cloud.column("/runs", "run_id").await.len(), 100);
    assert_eq!(cloud.column("/runs?limit=1000", "run_id").await.len(), 120);
}

#[tokio::test]
async fn bad_parameters_are_refused_as_json() {
    let cloud = three_runs().await;
    for query in ["limit=0", "limit=-1", "limit=x", "sort=up", "last=maybe"] {
        let (status, answer) = cloud.any(&format!("/runs?{query}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert!(answer["detail"].is_string(), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_run_that_arrives_late_is_still_news() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("live").started(100)]).await;
    // Out of the spool of a process that could not reach the server.
    cloud.ingest(&[run("late").started(10), run("late").ended(20, "success", None)]).await;
    let news = cloud.column("/runs?environment=prod&since_run_id=live", "run_id").await;
    assert_eq!(news, ["late"]);
}

#[tokio::test]
async fn the_end_may_arrive_before_the_beginning() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").ended(20, "success", None)]).await;
    cloud.ingest(&[run("r1").started(10)]).await;
    let run = cloud.get("/runs/r1").await;
    assert_eq!((&run["start_at"], &run["end_at"], &run["status"]), (&json!(at(10)), &json!(at(20)), &json!("success")));
}

#[tokio::test]
async fn scheduled_evaluations_go_when_the_run_ends() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    cloud.ingest(&[r1.started(1), r1.scheduled(2, "e1", ORDERS, "v1"), r1.scheduled(2, "e2", ORDERS, "v1")]).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["scheduled", "scheduled"]);
    cloud.ingest(&[r1.evaluating(3, "e2", ORDERS, "v1"), ended(4, "e2", "success", None)]).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "evaluation_id").await, ["e2", "e1"]);
    cloud.ingest(&[r1.ended(5, "success", None), r1.scheduled(2, "e3", ORDERS, "v1")]).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "evaluation_id").await, ["e2"]);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let cloud = three_runs().await;
    let before = cloud.column("/runs", "run_id").await;
    let cloud = cloud.restart().await;
    assert_eq!(cloud.column("/runs", "run_id").await, before);
}
