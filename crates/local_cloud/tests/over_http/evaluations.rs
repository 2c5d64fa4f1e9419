//! `GET /evaluations`, `GET /evaluations/{id}` and `GET /runs/{run_id}/evaluations`

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::events::{ITEMS, ORDERS, at, audited, ended, environment, model, plan, run};

#[tokio::test]
async fn an_evaluation_has_its_log_audits_and_links() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    cloud
        .ingest(&[
            r1.started(1),
            r1.evaluating(2, "e1", ORDERS, "v1"),
            audited(3, "e1", "not_null", "success"),
            audited(3, "e1", "unique", "failed"),
            ended(4, "e1", "failed", Some("an audit failed")),
        ])
        .await;
    let view = format!(
        "{}/environments/prod/runs/r1?tab=explore&model_name=%22wh%22.%22shop%22.%22orders%22&evaluation_id=e1\
         &tab_model_evaluation=definition&tab_evaluation=",
        cloud.base
    );
    let audit = |number: u8, name: &str, status: &str| {
        json!({"name": name, "status": status, "execution_time": at(3), "interval_start": "2024-04-30T00:00:00Z",
               "interval_end": "2024-05-01T00:00:00Z", "log": "SELECT 1 WHERE <id> IS NULL",
               "link": format!("{view}overview#audit-{number}"), "log_link": format!("{view}log#audit-{number}"),
               "args": r#"{"columns":"id"}"#, "blocking": status == "success", "log_is_query": true,
               "failing_rows": u8::from(status != "success")})
    };
    let expected = json!({
        "evaluation_id": "e1", "node_name": ORDERS, "run_id": "r1", "start_at": at(2), "end_at": at(4),
        "error_message": "an audit failed", "log": "evaluated e1", "status": "failed",
        "link": format!("{view}overview"), "log_link": format!("{view}log"),
        "audits": [audit(1, "not_null", "success"), audit(2, "unique", "failed")],
        "interval_start": "2024-04-30T00:00:00Z", "interval_end": "2024-05-01T00:00:00Z",
    });
    assert_eq!(cloud.get("/evaluations/e1").await, expected);
    assert_eq!(cloud.get("/runs/r1/evaluations").await, json!([expected]));
    assert_eq!(cloud.get("/evaluations?run_id=r1").await, json!([expected]));
}

#[tokio::test]
async fn rows_and_durations_are_those_of_the_recorder() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    let (mut timed, mut counted) = (audited(3, "e1", "not_null", "success"), ended(4, "e1", "success", None));
    timed["duration_seconds"] = 0.25.into();
    timed["log"] = Value::Null;
    counted["rows_processed"] = 80.into();
    cloud.ingest(&[r1.started(1), r1.evaluating(2, "e1", ORDERS, "v1"), timed, counted]).await;
    let evaluation = cloud.get("/evaluations/e1").await;
    assert_eq!(evaluation["rows_processed"], 80);
    let audit = &evaluation["audits"][0];
    assert_eq!(audit["duration_seconds"], 0.25);
    assert!(audit.get("log_is_query").is_none(), "{audit}");
}

#[tokio::test]
async fn an_evaluation_made_by_a_plan_has_no_run() {
    let cloud = Cloud::start().await;
    cloud.ingest(&plan("p1").evaluated(1, "e1", ORDERS, "v1")).await;
    let evaluation = cloud.get("/evaluations/e1").await;
    assert_eq!(evaluation["plan_id"], "p1");
    assert!(evaluation.get("run_id").is_none(), "{evaluation}");
    assert!(evaluation["link"].as_str().is_some_and(|link| link.contains("/plans/p1?")));
    assert_eq!(cloud.column("/evaluations?plan_id=p1", "evaluation_id").await, ["e1"]);
    cloud.missing("/evaluations?run_id=p1").await;
    cloud.missing("/runs/p1/evaluations").await;
}

#[tokio::test]
async fn lists_are_sorted_filtered_and_limited() {
    let cloud = Cloud::start().await;
    for (second, run, id, node) in [
        (10, run("r1"), "e1", ORDERS),
        (20, run("r1"), "e2", ITEMS),
        (30, run("r2"), "e3", ORDERS),
        (40, run("d1").of("dev"), "e4", ORDERS),
    ] {
        cloud.ingest(&run.evaluated(second, id, node, "v1")).await;
    }
    cloud.ingest(&[run("r2").scheduled(31, "e5", ITEMS, "v1")]).await;
    let check = async |path: &str, expected: &[&str]| {
        let ids = cloud.column(path, "evaluation_id").await;
        assert_eq!(ids, expected, "{path}");
    };
    let orders = "node_name=%22wh%22.%22shop%22.%22orders%22";
    check("/evaluations", &["e1", "e2", "e3", "e4", "e5"]).await;
    check("/evaluations?sort=desc", &["e5", "e4", "e3", "e2", "e1"]).await;
    check("/evaluations?environment=prod&limit=2", &["e1", "e2"]).await;
    check(&format!("/evaluations?{orders}"), &["e1", "e3", "e4"]).await;
    check(&format!("/evaluations?{orders}&sort=desc&limit=1&environment=prod"), &["e3"]).await;
    check("/evaluations?run_id=r1", &["e1", "e2"]).await;
    check(&format!("/runs/r1/evaluations?{orders}"), &["e1"]).await;
    check("/evaluations?latest=true", &["e2", "e4"]).await;
    check("/evaluations?latest=true&run_id=r1", &["e1", "e2"]).await;
    cloud.missing("/evaluations?environment=nowhere").await;
    cloud.missing("/evaluations/e9").await;
    cloud.missing("/runs/r9/evaluations").await;
}

#[tokio::test]
async fn latest_goes_through_the_versions_that_the_environment_has_now() {
    let cloud = Cloud::start().await;
    let latest = async |environment: &str| {
        let path = format!("/evaluations?environment={environment}&latest=true");
        cloud.column(&path, "evaluation_id").await
    };
    let ingest = async |events: &[Value]| cloud.ingest(events).await;
    ingest(&[environment("prod", 1, &[model(ORDERS, "v1"), model(ITEMS, "v1")])]).await;
    ingest(&plan("p1").evaluated(10, "e1", ORDERS, "v1")).await;
    ingest(&plan("p1").evaluated(12, "e2", ITEMS, "v1")).await;
    ingest(&run("r1").evaluated(20, "e3", ORDERS, "v1")).await;
    assert_eq!(latest("prod").await, ["e2", "e3"]);

    // A new version is made in dev: prod does not have it.
    ingest(&plan("p2").of("dev").evaluated(30, "e4", ORDERS, "v2")).await;
    ingest(&[environment("dev", 31, &[model(ORDERS, "v2"), model(ITEMS, "v1")])]).await;
    assert_eq!(latest("prod").await, ["e2", "e3"]);
    assert_eq!(latest("dev").await, ["e2", "e4"]);

    // Promoting it evaluates nothing.
    ingest(&[environment("prod", 40, &[model(ORDERS, "v2"), model(ITEMS, "v1")])]).await;
    assert_eq!(latest("prod").await, ["e2", "e4"]);
    // What was done for the version elsewhere belongs to the environment's history.
    let orders = "node_name=%22wh%22.%22shop%22.%22orders%22";
    let history = cloud.column(&format!("/evaluations?environment=prod&{orders}&sort=desc"), "evaluation_id").await;
    assert_eq!(history, ["e4", "e3", "e1"]);

    // One that has begun counts, one that is only scheduled does not.
    ingest(&[run("r2").evaluating(50, "e5", ORDERS, "v2"), run("r2").scheduled(51, "e6", ITEMS, "v1")]).await;
    assert_eq!(latest("prod").await, ["e2", "e5"]);
    // A node without any evaluation is left out, and so is a model that went.
    ingest(&[environment("prod", 60, &[model(ORDERS, "v3"), model(ITEMS, "v1")])]).await;
    assert_eq!(latest("prod").await, ["e2"]);
    ingest(&[run("r3").scheduled(61, "e7", ORDERS, "v3")]).await;
    assert_eq!(latest("prod").await, ["e2"]);
}

#[tokio::test]
async fn all_evaluations_of_a_run_are_listed_and_a_hundred_elsewhere() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    let ids: Vec<String> = (0..150).map(|n| format!("e{n}")).collect();
    let events: Vec<Value> = ids.iter().map(|id| r1.evaluating(1, id, ORDERS, "v1")).collect();
    cloud.ingest(&events).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "evaluation_id").await, ids);
    assert_eq!(cloud.column("/evaluations", "evaluation_id").await.len(), 100);
    assert_eq!(cloud.column("/evaluations?limit=500", "evaluation_id").await.len(), 150);
}

#[tokio::test]
async fn the_same_audit_may_come_twice() {
    let cloud = Cloud::start().await;
    cloud
        .ingest(&[
            run("r1").evaluating(1, "e1", ORDERS, "v1"),
            audited(2, "e1", "not_null", "success"),
            audited(2, "e1", "not_null", "failed"),
        ])
        .await;
    let evaluation = cloud.get("/evaluations/e1").await;
    let results: Vec<_> = evaluation["audits"].as_array().expect("audits").iter().map(|a| &a["status"]).collect();
    assert_eq!(results, ["success", "failed"]);
}
