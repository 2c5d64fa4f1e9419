//! The control endpoint.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HOST};
use serde_json::{Value, json};

use crate::simulator::SimulatedCloud;

#[tokio::test]
async fn slips_are_refused_by_name() {
    let cloud = SimulatedCloud::start("{}").await;
    let check = async |what: &str, body: Value, expected: &str| {
        let answer = cloud.http.post(format!("{}/control/{what}", cloud.control)).json(&body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{what}");
        let text = answer.text().await.expect("text");
        assert!(text.contains(expected), "{text}");
    };
    check("runs", json!({"strat_s": 1}), "strat_s").await;
    check("faults", json!([{"do": "drop"}, {"do": "explode"}]), "explode").await;
    check("faults", json!({"do": {"redirect": "nowhere"}}), "nowhere").await;
    check("clock", json!({"advance_s": -1}), "forward").await;
    check("runs/r1/end", json!({"status": "odd"}), "odd").await;
    assert_eq!(cloud.state().await["faults"], json!([]), "none of a list with a slip was taken");
}

#[tokio::test]
async fn web_pages_cannot_steer_it() {
    let cloud = SimulatedCloud::start("{}").await;
    let url = format!("{}/control/revoke", cloud.control);
    let text = cloud.http.post(&url).header(CONTENT_TYPE, "text/plain").body("{}").send().await.expect("an answer");
    assert_eq!(text.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let renamed = cloud.http.post(&url).header(HOST, "evil.test").json(&json!({})).send().await.expect("an answer");
    assert_eq!(renamed.status(), StatusCode::FORBIDDEN);
    assert_eq!(cloud.order("revoke", json!({})).await, json!({}));
}

#[tokio::test]
async fn it_is_not_on_the_address_of_the_cloud() {
    let cloud = SimulatedCloud::start("{}").await;
    let answer = cloud.http.get(format!("{}/control/state", cloud.base)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = cloud.http.get(format!("{}/api/v1/runs", cloud.control)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn it_counts_requests_and_faults() {
    let cloud = SimulatedCloud::start("faults: [{do: {answer: {status: 500}}, skip: 1, count: 1}]").await;
    for path in ["runs", "runs", "runs/r1", "runs/r2", "dags/prod"] {
        cloud.http.get(format!("{}/api/v1/{path}", cloud.base)).send().await.expect("an answer");
    }
    let state = cloud.state().await;
    let counts = json!({"GET /api/v1/runs": 2, "GET /api/v1/runs/*": 2, "GET /api/v1/dags/*": 1});
    assert_eq!(state["requests"], counts);
    let bytes = |way: &str| state["bytes"][way].as_u64().expect("a number");
    assert!(bytes("received") > 5 * 50 && bytes("sent") > 5 * 100, "{}", state["bytes"]);
    assert_eq!((&state["faults"][0]["met"], &state["faults"][0]["done"]), (&json!(5), &json!(1)));
}

#[tokio::test]
async fn a_run_of_an_unknown_node_or_environment_is_refused() {
    let cloud = SimulatedCloud::start("environments: [{nodes: [{name: orders}]}]").await;
    let refused = async |run: Value| {
        let response =
            cloud.http.post(format!("{}/control/runs", cloud.control)).json(&run).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON")["detail"].clone())
    };
    let sentence = "no node 'order' in environment 'prod': did you mean 'orders'?";
    assert_eq!(refused(json!({"nodes": {"order": "failed"}})).await, (422, json!(sentence)));
    let sentence = "no environment 'prd': did you mean 'prod'?";
    assert_eq!(refused(json!({"environment": "prd"})).await, (422, json!(sentence)));
}
