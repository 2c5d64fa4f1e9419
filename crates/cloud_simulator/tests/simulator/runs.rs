//! Runs on a time line, as the API shows them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::simulator::SimulatedCloud;

/// `a` with an audit, `b` below it; the clock stands.
const TWO: &str = "
environments: [{nodes: [{name: a, audits: [not_null]}, {name: b, parents: [a]}]}]
";

async fn standing(scenario: &str) -> SimulatedCloud {
    let cloud = SimulatedCloud::start(scenario).await;
    cloud.order("clock", json!({"speed": 0})).await;
    cloud
}

#[tokio::test]
async fn a_run_goes_on_as_its_time_passes() {
    let cloud = standing(TWO).await;
    cloud.order("runs", json!({"id": "r1", "task_s": 10})).await;
    cloud.advance(5.0).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["in_progress"]);
    cloud.advance(10.0).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "node_name").await, ["a", "b"]);
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["success", "in_progress"]);
    assert_eq!(cloud.get("/runs/r1").await["status"], "in_progress");
    cloud.advance(10.0).await;
    let run = cloud.get("/runs/r1").await;
    assert_eq!((&run["status"], &run["error_message"]), (&json!("success"), &Value::Null));
    let evaluations = cloud.get("/runs/r1/evaluations").await;
    assert_eq!(evaluations[0]["audits"][0]["status"], "success");
    assert_eq!(evaluations[0]["end_at"], evaluations[1]["start_at"]);
}

#[tokio::test]
async fn the_file_starts_runs_in_the_past_too() {
    let cloud = standing(&format!(
        "{TWO}
runs: [{{id: old, start_s: -3600, nodes: {{a: failed}}}}, {{id: older, start_s: -7200, task_s: [1, 2]}}, {{id: later, start_s: 60}}]"
    ))
    .await;
    cloud.settled().await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["older", "old"]);
    assert_eq!(cloud.get("/runs/old").await["error_message"], "1 of 1 nodes failed");
    let newest = cloud.column("/evaluations?environment=prod&latest=true", "evaluation_id").await;
    assert_eq!(newest, ["older-n2-b1", "old-n1-b1"]);
    cloud.advance(61.0).await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["older", "old", "later"]);
}

#[tokio::test]
async fn a_run_is_repeated_as_often_as_said() {
    let cloud = standing(&format!("{TWO}\nruns: [{{repeat_s: 30, times: 3}}]")).await;
    cloud.advance(1000.0).await;
    let state = cloud.state().await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["run-1", "run-1-2", "run-1-3"]);
    assert_eq!(state["pending"], 0);
    let statuses: Vec<&Value> = state["runs"].as_array().expect("a list").iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["success", "success", "success"]);
}

#[tokio::test]
async fn an_endless_run_stays_alive_until_it_is_ended() {
    let cloud = SimulatedCloud::start(TWO).await;
    cloud.order("runs", json!({"id": "r1", "nodes": {"a": "open"}})).await;
    // Longer than it takes for a silent run to count as dead.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(cloud.get("/runs/r1").await["end_at"], Value::Null);
    cloud.order("runs/r1/end", json!({"message": "enough"})).await;
    cloud.settled().await;
    let run = cloud.get("/runs/r1").await;
    assert_eq!((&run["status"], &run["error_message"]), (&json!("failed"), &json!("enough")));
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["in_progress"]);
}

#[tokio::test]
async fn statuses_and_messages_are_as_said() {
    let cloud = standing(
        "
environments: [{nodes: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}, {name: f, source_type: seed}]}]
runs:
  - id: r1
    lanes: 9
    nodes:
      a: {status: failed, message: null}
      b: {message: but empty}
      c: parked
      d: {status: parked, open: true}
      e: preempted
    ends: {at_s: 5, message: null}
",
    )
    .await;
    cloud.advance(6.0).await;
    let reported = cloud.get("/runs/r1/evaluations").await;
    let reported: Vec<(&Value, &Value, bool)> = reported
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (&one["status"], &one["error_message"], one["end_at"].is_null()))
        .collect();
    let (null, empty) = (&Value::Null, &json!("but empty"));
    let status = |index: usize| json!(["failed", "success", "parked", "parked", "preempted"][index]);
    assert_eq!(
        reported,
        [
            (&status(0), null, false),
            (&status(1), empty, false),
            (&status(2), null, false),
            (&status(3), null, true),
            (&status(4), null, false)
        ]
    );
    let run = cloud.get("/runs/r1").await;
    assert_eq!((&run["status"], &run["error_message"], run["end_at"].is_null()), (&json!("failed"), null, false));
}

#[tokio::test]
async fn a_run_can_be_forgotten_while_it_goes_on() {
    let cloud = standing(&format!("{TWO}\nruns: [{{id: r1}}, {{id: r2}}]\nforget: [{{run_id: r1, at_s: 1.5}}]")).await;
    cloud.advance(1.0).await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["r1", "r2"]);
    cloud.advance(100.0).await;
    assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["r2"]);
}

#[tokio::test]
async fn the_models_of_an_environment_come_and_go() {
    let cloud = standing(&TWO.replace("]}]}]", "]}]}, {at_s: 10, nodes: [{name: c}]}]")).await;
    let names = async || {
        let dag = cloud.get("/dags/prod").await;
        dag["nodes"].as_array().expect("a list").iter().map(|node| node["name"].clone()).collect::<Vec<_>>()
    };
    cloud.settled().await;
    assert_eq!(names().await, ["a", "b"]);
    cloud.advance(11.0).await;
    assert_eq!(names().await, ["c"]);
    cloud
        .order("environments", json!({"name": "dev", "generate": {"models": 60, "layers": 6, "audits_each": 2}}))
        .await;
    cloud.settled().await;
    assert_eq!(cloud.get("/dags/dev").await["nodes"].as_array().map(Vec::len), Some(60));
}

#[tokio::test]
async fn the_examples_can_be_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios");
    let mut played = 0;
    for file in std::fs::read_dir(folder).expect("the examples") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let cloud = standing(&text).await;
        cloud.settled().await;
        assert!(!cloud.column("/runs", "run_id").await.is_empty(), "{text}");
        played += 1;
    }
    assert!(played > 0);
}

#[tokio::test]
async fn the_same_seed_plays_the_same_run() {
    let scenario = "
seed: 11
environments: [{generate: {models: 60, layers: 6, audits_each: 2}}]
runs: [{id: r1, lanes: 8, task_s: [0.1, 3], chances: {failed: 0.1, none: 0.2, preempted: 0.05, audit_failed: 0.2, audit_blocks: 0.05}}]
";
    let mut reported = Vec::new();
    for seed in ["11", "11", "12"] {
        let cloud = standing(&scenario.replace("11", seed)).await;
        cloud.advance(1000.0).await;
        let run = &cloud.state().await["runs"][0];
        let evaluations = run["evaluations"].as_array().expect("a list").iter();
        let term = |one: &Value| {
            let audits = one["audits"].as_array().expect("a list").iter();
            let audits: Vec<&str> = audits.filter_map(|audit| audit["status"].as_str()).collect();
            format!("{} {} {audits:?}", one["node_name"], one["status"])
        };
        reported.push((run["status"].clone(), evaluations.map(term).collect::<Vec<_>>()));
    }
    assert_eq!(reported[0], reported[1]);
    assert_ne!(reported[0], reported[2]);
    assert!(reported[0].1.len() > 10, "{reported:?}");
}

#[tokio::test]
async fn a_run_of_long_ago_has_the_nodes_of_an_environment_without_a_time() {
    let node = r#"{name: '"lake"."s"."a"'}"#;
    let cloud = SimulatedCloud::start(&format!(
        "environments: [{{nodes: [{node}]}}]\nruns: [{{id: old, start_s: -87000}}, {{id: older, start_s: -8640000}}]\n"
    ))
    .await;
    cloud.settled().await;
    for run in ["old", "older"] {
        assert_eq!(cloud.column(&format!("/runs/{run}/evaluations"), "status").await, ["success"], "{run}");
    }
}

#[tokio::test]
async fn a_plan_evaluates_as_a_run_does() {
    let cloud = SimulatedCloud::start(
        "environments: [{nodes: [{name: a}]}]\nruns: [{id: p, kind: plan, start_s: -10, nodes: {a: failed}}]\n",
    )
    .await;
    cloud.settled().await;
    assert_eq!(cloud.column("/evaluations?plan_id=p", "status").await, ["failed"]);
    assert_eq!(cloud.get("/evaluations?plan_id=p").await[0]["plan_id"], "p");
}

#[tokio::test]
async fn a_late_run_becomes_known_after_a_run_that_started_later() {
    let cloud = SimulatedCloud::start(
        "environments: [{nodes: [{name: a}]}]\nruns:\n- {id: late, start_s: -20, late_s: 15}\n- {id: first, start_s: -15}\n",
    )
    .await;
    cloud.settled().await;
    let runs = cloud.column("/runs?sort=asc", "run_id").await;
    assert_eq!(runs, ["first", "late"], "in the order in which the cloud got to know them");
}
