//! Each fault as it appears on the wire.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::simulator::{CLIENT_ID, CLIENT_SECRET, SimulatedCloud};

const THREE_RUNS: &str = "
environments: [{nodes: [{name: a, audits: [x]}]}]
runs: [{id: r1, start_s: -300}, {id: r2, start_s: -200}, {id: r3, start_s: -100}]
";

async fn three_runs() -> SimulatedCloud {
    let cloud = SimulatedCloud::start(THREE_RUNS).await;
    cloud.settled().await;
    cloud
}

/// What comes back, byte by byte, and how the connection ends.
async fn raw(cloud: &SimulatedCloud, path: &str) -> (String, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(cloud.base.trim_start_matches("http://")).await.expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (String::from_utf8(bytes).expect("text"), end)
}

#[tokio::test]
async fn answers_of_another_kind() {
    let cloud = three_runs().await;
    let check = async |answer: Value, status: &str, expected: &str| {
        cloud.no_faults().await;
        cloud.fault(json!({"do": {"answer": answer}})).await;
        let (text, _) = raw(&cloud, "/api/v1/runs").await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(text.to_lowercase().contains(expected), "{text}");
    };
    check(json!({"status": 500}), "500", "{\"detail\":").await;
    check(json!({"status": 503, "body": "html"}), "503", "content-type: text/html").await;
    check(json!({"status": 429, "retry_after_s": 7}), "429", "retry-after: 7\r\n").await;
    check(json!({"status": 429, "retry_after_date_s": 7}), "429", " gmt\r\n").await;
    check(json!({"status": 200, "body": "html"}), "200", "<html>").await;
    check(json!({"status": 200, "body": "empty"}), "200", "content-length: 0").await;
    check(json!({"status": 200, "body": "malformed"}), "200", "malformed}").await;
    check(json!({"status": 401}), "401", "detail").await;
}

#[tokio::test]
async fn a_project_beside_the_scenarios_takes_nothing_from_it_and_faults_meet_both() {
    let cloud = three_runs().await;
    let started = json!({"id": "e1", "at": "2026-01-01T00:00:00Z", "type": "run_started", "run_id": "other-1",
                         "environment": "prod", "project": "other", "project_is_named": true, "state": "of another"});
    let sent = cloud.http.post(format!("{}/recorder/v1/events", cloud.base)).json(&started).send().await;
    let sent: Value = sent.expect("an answer").json().await.expect("JSON");
    assert_eq!(sent["accepted"], 1, "{sent}");
    let runs_of = async |project: &str| -> Result<Vec<String>, u16> {
        let url = format!("{}/projects/{project}/api/v1/runs?sort=asc", cloud.base);
        let answer = cloud.http.get(url).send().await.expect("an answer");
        if !answer.status().is_success() {
            return Err(answer.status().as_u16());
        }
        let runs: Vec<Value> = answer.json().await.expect("a list");
        Ok(runs.iter().map(|run| run["run_id"].as_str().unwrap_or_default().to_owned()).collect())
    };
    assert_eq!(runs_of("default").await, Ok(["r1", "r2", "r3"].map(str::to_owned).to_vec()));
    assert_eq!(runs_of("other").await, Ok(vec!["other-1".to_owned()]));
    let state = cloud.state().await;
    assert_eq!(state["runs"].as_array().map(Vec::len), Some(3), "the truth is the scenario's own: {state}");

    cloud.fault(json!({"do": {"answer": {"status": 500}}, "count": 2})).await;
    assert_eq!([runs_of("default").await, runs_of("other").await], [Err(500), Err(500)]);
    cloud.fault(json!({"do": {"redirect": "slash"}, "count": 1})).await;
    let answer = cloud.http.get(format!("{}/projects/default/api/v1/runs?limit=1", cloud.base)).send().await;
    let to = answer.expect("an answer").headers()["location"].to_str().expect("text").to_owned();
    assert_eq!(to, "/projects/default/api/v1/runs/?limit=1");
    let answer = cloud.http.get(format!("{}{to}", cloud.base)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn connections_that_break() {
    let cloud = three_runs().await;
    cloud.fault(json!({"do": "drop", "count": 1})).await;
    let (text, end) = raw(&cloud, "/api/v1/runs").await;
    assert_eq!((text.as_str(), end.expect("a clean end")), ("", 0));
    cloud.fault(json!({"do": "reset", "count": 1})).await;
    let (text, end) = raw(&cloud, "/api/v1/runs").await;
    assert_eq!((text.as_str(), end.map_err(|error| error.kind())), ("", Err(std::io::ErrorKind::ConnectionReset)));
    let (whole, _) = raw(&cloud, "/api/v1/runs").await;
    cloud.fault(json!({"do": "cut", "count": 1})).await;
    let (half, _) = raw(&cloud, "/api/v1/runs").await;
    let body = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body");
    assert_eq!(body(&half).len(), body(&whole).len() / 2);
    assert!(half.contains(&format!("content-length: {}", body(&whole).len())), "{half}");
}

#[tokio::test]
async fn answers_that_take_their_time() {
    let cloud = three_runs().await;
    for fault in ["slow_headers", "slow_body"] {
        cloud.no_faults().await;
        let begun = Instant::now();
        let truth = cloud.get("/runs").await;
        let quick = begun.elapsed();
        cloud.fault(json!({"do": {fault: 0.5}})).await;
        let begun = Instant::now();
        assert_eq!(cloud.get("/runs").await, truth);
        assert!(begun.elapsed() > Duration::from_millis(400), "{fault}: {:?}, else {quick:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn nobody_listens_for_a_while() {
    let cloud = three_runs().await;
    let mut open = TcpStream::connect(cloud.base.trim_start_matches("http://")).await.expect("a connection");
    cloud.fault(json!({"do": "refuse", "to_s": 0.5})).await;
    let mut byte = [0];
    assert!(matches!(open.read(&mut byte).await, Ok(0) | Err(_)), "the open connection ends");
    let refused = TcpStream::connect(cloud.base.trim_start_matches("http://")).await;
    assert_eq!(refused.expect_err("nobody").kind(), std::io::ErrorKind::ConnectionRefused);
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(cloud.base.trim_start_matches("http://")).await.is_err() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cloud.column("/runs", "run_id").await, ["r3", "r2", "r1"]);
}

#[tokio::test]
async fn redirects_lead_where_they_say() {
    let cloud = three_runs().await;
    cloud.fault(json!({"do": {"redirect": "slash"}})).await;
    let (text, _) = raw(&cloud, "/api/v1/runs?limit=1").await;
    assert!(text.contains("location: /api/v1/runs/?limit=1\r\n"), "{text}");
    assert_eq!(cloud.column("/runs/?limit=1", "run_id").await, ["r3"]);
    cloud.no_faults().await;
    cloud.fault(json!({"do": {"redirect": "http://127.0.0.1:9/"}})).await;
    let (text, _) = raw(&cloud, "/api/v1/runs").await;
    assert!(text.contains("location: http://127.0.0.1:9/api/v1/runs\r\n"), "{text}");
}

#[tokio::test]
async fn since_run_id_means_what_is_said() {
    let cloud = three_runs().await;
    let path = "/runs?environment=prod&since_run_id=r2&sort=desc";
    let ascending = "/runs?environment=prod&since_run_id=r2&sort=asc";
    let check = async |since: Option<&str>, expected: &[&str]| {
        cloud.no_faults().await;
        if let Some(since) = since {
            cloud.fault(json!({"do": {"since_run_id": since}})).await;
        }
        assert_eq!(cloud.column(path, "run_id").await, expected, "{since:?}");
        let oldest_first: Vec<&str> = expected.iter().rev().copied().collect();
        assert_eq!(cloud.column(ascending, "run_id").await, oldest_first, "{since:?}");
    };
    check(None, &["r3"]).await;
    check(Some("included"), &["r3", "r2"]).await;
    check(Some("ignored"), &["r3", "r2", "r1"]).await;
    cloud.no_faults().await;
    cloud.fault(json!({"do": {"since_run_id": "unknown"}})).await;
    let answer = cloud.http.get(format!("{}/api/v1{path}", cloud.base)).send().await.expect("an answer");
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn true_answers_may_be_odd() {
    let cloud = three_runs().await;
    let truth = cloud.get("/evaluations/r1-n1-b1").await;
    cloud.fault(json!({"do": {"alter": ["null_execution_time", "times_without_zone", "unknown_fields"]}})).await;
    let odd = cloud.get("/evaluations/r1-n1-b1").await;
    assert_eq!(odd["audits"][0]["execution_time"], Value::Null);
    assert_eq!(format!("{}Z", odd["end_at"].as_str().expect("a time")), truth["end_at"]);
    assert!(odd["some_new_field"].is_object() && odd["audits"][0]["some_new_field"].is_object());
    cloud.no_faults().await;
    cloud.fault(json!({"do": {"alter": ["no_optional_fields", "bare_object"]}})).await;
    let bare = cloud.get("/runs/r1/evaluations").await;
    assert_eq!((&bare["evaluation_id"], bare.get("audits"), bare.get("link")), (&json!("r1-n1-b1"), None, None));
    assert_eq!(cloud.state().await["runs"][0]["evaluations"][0], truth, "the truth stays the truth");
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing() {
    let cloud = SimulatedCloud::start_closed(THREE_RUNS).await;
    let token = async || {
        let form = [("grant_type", "client_credentials")];
        let request = cloud.http.post(format!("{}/auth/token", cloud.base));
        let answer = request.basic_auth(CLIENT_ID, Some(CLIENT_SECRET)).form(&form).send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")["id_token"].as_str().expect("a token").to_owned()
    };
    let status = async |token: &str| {
        let request = cloud.http.get(format!("{}/api/v1/dags/prod", cloud.base));
        request.bearer_auth(token).send().await.expect("an answer").status()
    };
    let first = token().await;
    cloud.settled().await;
    assert_eq!(status(&first).await, 200);
    cloud.fault(json!({"do": "revoke_tokens", "count": 1})).await;
    assert_eq!(status(&first).await, 401);
    assert_eq!(status(&token().await).await, 200);
}
