//! `GET /plans` and `GET /plans/{plan_id}`, and what else only a local cloud says.

use reqwest::StatusCode;
use serde_json::json;

use crate::cloud::Cloud;
use crate::events::{ITEMS, ORDERS, at, due, ended, plan, run};

#[tokio::test]
async fn ended_plans_are_listed_in_the_order_in_which_they_ended() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.get("/plans?environment=prod").await, json!([]));
    cloud.ingest(&[plan("p1").started(1), plan("p2").started(2), plan("d1").of("dev").started(3)]).await;
    cloud.ingest(&plan("p1").evaluated(4, "e1", ORDERS, "v1")).await;
    assert_eq!(cloud.get("/plans?environment=prod").await, json!([]));
    cloud.ingest(&[plan("p2").ended(10, "failed", Some("no such table")), plan("p1").ended(11, "success", None)]).await;
    cloud.ingest(&[plan("d1").of("dev").ended(12, "success", None)]).await;

    let link = format!("{}/environments/prod/plans/p1?tab=summary&tab_summary=executions", cloud.base);
    let p1 = json!({"plan_id": "p1", "environment": "prod", "status": "success", "start_at": at(1), "end_at": at(11),
                    "error_message": null, "link": link, "seq": 2, "evaluations": 1});
    assert_eq!(cloud.get("/plans/p1").await, p1);
    assert_eq!(cloud.get("/plans?environment=prod&since_seq=1").await, json!([p1]));
    let check = async |query: &str, expected: &[&str]| {
        assert_eq!(cloud.column(&format!("/plans{query}"), "plan_id").await, expected, "{query}");
    };
    check("?environment=prod", &["p2", "p1"]).await;
    check("?environment=prod&sort=desc&limit=1", &["p1"]).await;
    check("?environment=prod&sort=asc&limit=1", &["p2"]).await;
    check("?environment=prod&since_seq=2", &[]).await;
    check("?environment=nowhere", &[]).await;
    check("", &["p2", "p1", "d1"]).await;
    assert_eq!(cloud.get("/plans/p2").await["error_message"], "no such table");
}

#[tokio::test]
async fn an_open_plan_has_no_place_in_the_order_yet() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[plan("p1").started(1)]).await;
    assert_eq!(cloud.get("/plans/p1").await["seq"], json!(null));
    cloud.missing("/plans/p9").await;
    cloud.ingest(&[run("r1").started(1)]).await;
    cloud.missing("/plans/r1").await;
}

#[tokio::test]
async fn a_plan_that_ends_again_is_new_again() {
    let cloud = Cloud::start().await;
    let p1 = plan("p1");
    cloud.ingest(&[p1.started(1), p1.ended(2, "failed", Some("no")), plan("p2").ended(3, "success", None)]).await;
    cloud.ingest(&[p1.started(4)]).await;
    assert_eq!(cloud.column("/plans", "plan_id").await, ["p2"]);
    cloud.ingest(&[p1.ended(5, "success", None)]).await;
    assert_eq!(cloud.column("/plans?since_seq=2", "plan_id").await, ["p1"]);
    assert_eq!(cloud.column("/plans", "seq").await, [2, 3]);
}

#[tokio::test]
async fn runs_say_in_which_order_they_became_known() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").started(100), plan("p1").started(101), run("r2").started(50)]).await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["r1", "r2"]);
    assert_eq!(cloud.column("/runs?sort=asc", "seq").await, [1, 3]);
    assert_eq!(cloud.get("/runs/r2").await["seq"], 3);
}

#[tokio::test]
async fn a_run_says_which_nodes_are_due() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").started(1)]).await;
    assert!(cloud.get("/runs/r1").await.get("due_node_names").is_none());
    cloud.ingest(&[due(2, run("r1"), &[])]).await;
    assert_eq!(cloud.get("/runs/r1").await["due_node_names"], json!([]));
    cloud.ingest(&[due(3, run("r1"), &[ORDERS]), due(4, run("r1"), &[ITEMS, ORDERS])]).await;
    assert_eq!(cloud.get("/runs/r1").await["due_node_names"], json!([ORDERS, ITEMS]));
    // Lists stay small.
    assert!(cloud.get("/runs").await[0].get("due_node_names").is_none());
    // The first event of a run may be this one.
    cloud.ingest(&[due(5, run("r2"), &[ORDERS])]).await;
    assert_eq!(cloud.get("/runs/r2").await["due_node_names"], json!([ORDERS]));
}

#[tokio::test]
async fn what_was_only_audited_says_so() {
    let cloud = Cloud::start().await;
    let mut audited = run("r1").evaluating(1, "e1", ORDERS, "v1");
    audited["only_audits"] = true.into();
    let mut at_its_end = ended(3, "e2", "success", None);
    at_its_end["only_audits"] = true.into();
    cloud.ingest(&[audited, ended(2, "e1", "success", None), run("r1").evaluating(2, "e2", ITEMS, "v1")]).await;
    assert!(cloud.get("/evaluations/e2").await.get("only_audits").is_none());
    cloud.ingest(&[at_its_end]).await;
    for id in ["e1", "e2"] {
        let evaluation = cloud.get(&format!("/evaluations/{id}")).await;
        assert_eq!(evaluation["only_audits"], true, "{id}");
        assert!(cloud.page(evaluation["link"].as_str().expect("a link")).await.contains("only audited"));
    }
}

#[tokio::test]
async fn every_response_of_the_api_says_that_it_is_a_local_cloud() {
    let cloud = Cloud::start_closed().await;
    for path in ["/api/v1/runs", "/api/v1/nowhere", "/projects/default/api/v1/runs"] {
        let response = cloud.request(path).send().await.expect("a response");
        assert_ne!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-tobiko-local-cloud"], env!("CARGO_PKG_VERSION"), "{path}");
    }
}
