//! Each call of the client under each fault: what is transient is retried and answered, what is permanent is reported in a sentence.

use std::time::Duration;

use serde_json::{Value, json};
use tobiko_client::{Client, ClientConfig, Credentials, Error, EvaluationsQuery, RetryConfig, RunsQuery, Timeouts};
use tokio::net::TcpStream;

use crate::simulator::{CLIENT_ID, CLIENT_SECRET, SimulatedCloud};

const SCENARIO: &str = "
environments: [{nodes: [{name: a, audits: [x]}]}]
runs: [{id: r1, start_s: -300}, {id: r2, start_s: -200, nodes: {a: {audits: {x: blocks}}}}]
";

const CALLS: [&str; 6] = ["dag", "runs", "run", "evaluations of a run", "evaluations", "evaluation"];

/// One call; what it answers, as text.
async fn call(client: &Client, name: &str) -> Result<String, Error> {
    Ok(match name {
        "dag" => format!("{:?}", client.dag("prod").await?),
        "runs" => {
            let query = RunsQuery { environment: Some("prod".to_owned()), ..RunsQuery::default() };
            format!("{:?}", client.runs(&query).await?)
        }
        "run" => format!("{:?}", client.run("r2").await?),
        "evaluations of a run" => format!("{:?}", client.run_evaluations("r2", None, Vec::new).await?),
        "evaluations" => {
            let query = EvaluationsQuery {
                environment: Some("prod".to_owned()),
                latest: Some(true),
                ..EvaluationsQuery::default()
            };
            format!("{:?}", client.evaluations(&query).await?)
        }
        "evaluation" => format!("{:?}", client.evaluation("r2-n1-b1").await?),
        other => panic!("no such call: {other}"),
    })
}

/// Five tries with short waits. The times leave room for a slow machine, since nothing waits for them in a good case.
const PATIENT: (Timeouts, RetryConfig) = (
    Timeouts { connect: Duration::from_secs(10), read: Duration::from_secs(20), request: Duration::from_secs(30) },
    RetryConfig {
        max_tries: 5,
        init_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(20),
        retry_timeout: Duration::from_secs(60),
    },
);

/// For faults that are silent.
const IMPATIENT: (Timeouts, RetryConfig) =
    (Timeouts { read: Duration::from_millis(600), request: Duration::from_millis(900), ..PATIENT.0 }, PATIENT.1);

fn client(cloud: &SimulatedCloud) -> Client {
    client_with(cloud, PATIENT)
}

fn client_with(cloud: &SimulatedCloud, (timeouts, retry): (Timeouts, RetryConfig)) -> Client {
    let base_url: url::Url = cloud.base.parse().expect("a URL");
    let config = ClientConfig {
        token_url: base_url.join("/auth/token").expect("a URL"),
        base_url,
        credentials: Credentials::Client { id: CLIENT_ID.to_owned(), secret: CLIENT_SECRET.to_owned().into() },
        scope: "tbk:scope:projects".to_owned(),
        tcloud_home: "no-such-folder".into(),
        ca_file: None,
        cache_dir: None,
        timeouts,
        retry,
    };
    Client::new(config).expect("a client")
}

async fn closed() -> SimulatedCloud {
    let cloud = SimulatedCloud::start_closed(SCENARIO).await;
    cloud.settled().await;
    cloud
}

/// Every call is answered as without the fault, after `tries` requests.
async fn check_passes(cloud: &SimulatedCloud, fault: Value, tries: u64) {
    check_passes_with(PATIENT, cloud, fault, tries).await;
}

async fn check_passes_with(limits: (Timeouts, RetryConfig), cloud: &SimulatedCloud, fault: Value, tries: u64) {
    for name in CALLS {
        cloud.no_faults().await;
        let client = client_with(cloud, limits);
        let truth = call(&client, name).await.expect("the truth");
        let before = client.requests();
        cloud.fault(json!({"do": fault.clone(), "count": 1})).await;
        let answer = call(&client, name).await;
        assert_eq!(answer.as_ref(), Ok(&truth), "{name} under {fault}");
        assert_eq!(client.requests() - before, tries, "{name} under {fault}");
        assert_eq!(cloud.state().await["faults"][0]["done"], 1, "{name} did not get {fault}");
    }
}

/// Every call ends with an error that holds the text; it is an outage or not.
async fn check_lasts(cloud: &SimulatedCloud, fault: Value, is_outage: bool, expected: &str) {
    for name in CALLS {
        cloud.no_faults().await;
        cloud.fault(json!({"do": fault.clone()})).await;
        let error = call(&client(cloud), name).await.expect_err(name);
        assert_eq!(error.is_outage(), is_outage, "{name} under {fault}: {error}");
        assert!(error.to_string().contains(expected), "{name} under {fault}: {error}");
        assert!(!error.to_string().contains(CLIENT_SECRET), "{error}");
    }
}

#[tokio::test]
async fn bad_statuses_pass() {
    let cloud = closed().await;
    for status in [500, 502, 503, 504, 408] {
        check_passes(&cloud, json!({"answer": {"status": status}}), 2).await;
        check_passes(&cloud, json!({"answer": {"status": status, "body": "html"}}), 2).await;
    }
}

#[tokio::test]
async fn a_429_passes_when_its_time_has_passed() {
    let cloud = closed().await;
    check_passes(&cloud, json!({"answer": {"status": 429}}), 2).await;
    check_passes(&cloud, json!({"answer": {"status": 429, "retry_after_s": 0}}), 2).await;
    check_passes(&cloud, json!({"answer": {"status": 429, "retry_after_date_s": 1}}), 2).await;
}

#[tokio::test]
async fn broken_connections_and_bodies_pass() {
    let cloud = closed().await;
    for fault in [json!("drop"), json!("reset"), json!("cut"), json!({"answer": {"status": 200, "body": "empty"}})] {
        check_passes(&cloud, fault, 2).await;
    }
}

#[tokio::test]
async fn silence_passes_with_the_time_outs() {
    let cloud = closed().await;
    check_passes_with(IMPATIENT, &cloud, json!({"slow_headers": 300}), 2).await;
    check_passes_with(IMPATIENT, &cloud, json!({"slow_body": 300}), 2).await;
    // Slow, but within the limits.
    check_passes(&cloud, json!({"slow_headers": 0.2}), 1).await;
    check_passes(&cloud, json!({"slow_body": 0.2}), 1).await;
}

#[tokio::test]
async fn a_revoked_token_is_replaced_within_the_call() {
    let cloud = closed().await;
    check_passes(&cloud, json!("revoke_tokens"), 2).await;
}

#[tokio::test]
async fn a_redirect_to_a_slash_is_followed() {
    check_passes(&closed().await, json!({"redirect": "slash"}), 1).await;
}

#[tokio::test]
async fn no_bearer_follows_a_redirect_to_another_host() {
    let (cloud, other) = (closed().await, closed().await);
    let why = "which gets no credentials and answers 401: set TCLOUD_BASE_URL";
    check_lasts(&cloud, json!({"redirect": other.base}), false, why).await;
    let open = SimulatedCloud::start(SCENARIO).await;
    open.settled().await;
    for name in CALLS {
        cloud.no_faults().await;
        let truth = call(&client(&open), name).await;
        cloud.fault(json!({"do": {"redirect": open.base}})).await;
        assert_eq!(call(&client(&cloud), name).await, truth, "{name} from another host that asks nobody");
    }
}

#[tokio::test]
async fn what_stays_bad_is_an_outage() {
    let cloud = closed().await;
    check_lasts(&cloud, json!({"answer": {"status": 500}}), true, "500: a fault of the scenario").await;
    check_lasts(&cloud, json!({"answer": {"status": 502, "body": "html"}}), true, "an HTML page").await;
    check_lasts(&cloud, json!({"answer": {"status": 429, "retry_after_s": 3600}}), true, "429").await;
    check_lasts(&cloud, json!("drop"), true, "5 tries").await;
    check_lasts(&cloud, json!("reset"), true, "5 tries").await;
    check_lasts(&cloud, json!("cut"), true, "ended too early").await;
    check_lasts(&cloud, json!({"answer": {"status": 200, "body": "empty"}}), true, "ended too early").await;
}

#[tokio::test]
async fn what_is_not_the_api_is_reported() {
    let cloud = closed().await;
    check_lasts(&cloud, json!({"answer": {"status": 200, "body": "html"}}), false, "instead of JSON").await;
    check_lasts(&cloud, json!({"answer": {"status": 200, "body": "malformed"}}), false, "instead of JSON").await;
    check_lasts(&cloud, json!({"answer": {"status": 403}}), false, "denied access").await;
    check_lasts(&cloud, json!({"answer": {"status": 401}}), false, "TCLOUD_CLIENT_SECRET").await;
}

#[tokio::test]
async fn nobody_listens_for_a_while_or_for_good() {
    let cloud = closed().await;
    for name in CALLS {
        let retry =
            RetryConfig { init_backoff: Duration::from_millis(60), max_backoff: Duration::from_secs(2), ..PATIENT.1 };
        let patient = client_with(&cloud, (PATIENT.0, retry));
        let truth = call(&patient, name).await;
        cloud.fault(json!({"do": "refuse", "to_s": 0.15})).await;
        while TcpStream::connect(cloud.base.trim_start_matches("http://")).await.is_ok() {}
        assert_eq!(call(&patient, name).await, truth, "{name} comes back when somebody listens again");
        assert!(patient.requests() > 2, "{name}");
    }
    check_lasts(&cloud, json!("refuse"), true, "connection refused").await;
}

#[tokio::test]
async fn the_token_endpoint_fails_for_a_while_or_for_good() {
    let cloud = closed().await;
    let fail = async |fault: Value, count: Option<u64>| {
        let limits = if fault.is_string() || fault["answer"].is_object() { PATIENT } else { IMPATIENT };
        cloud.no_faults().await;
        cloud.fault(json!({"path": "/auth/token", "do": fault, "count": count})).await;
        call(&client_with(&cloud, limits), "run").await
    };
    for fault in [
        json!({"answer": {"status": 500}}),
        json!({"answer": {"status": 503, "body": "html"}}),
        json!({"answer": {"status": 429, "retry_after_s": 0}}),
        json!("drop"),
        json!("reset"),
        json!("cut"),
        json!({"slow_headers": 30}),
        json!({"slow_body": 30}),
    ] {
        assert!(fail(fault.clone(), Some(1)).await.is_ok(), "{fault}");
    }
    let error = fail(json!({"answer": {"status": 503, "body": "html"}}), None).await.expect_err("an outage");
    assert!(error.is_outage() && error.to_string().contains("/auth/token"), "{error}");
}

#[tokio::test]
async fn odd_answers_are_understood() {
    let cloud = closed().await;
    let truths = {
        let client = client(&cloud);
        let mut truths = Vec::new();
        for name in CALLS {
            truths.push(call(&client, name).await.expect("the truth"));
        }
        truths
    };
    for odd in ["times_without_zone", "unknown_fields"] {
        cloud.no_faults().await;
        cloud.fault(json!({"do": {"alter": [odd]}})).await;
        for (name, truth) in CALLS.iter().zip(&truths) {
            assert_eq!(call(&client(&cloud), name).await.as_ref(), Ok(truth), "{name}, {odd}");
        }
    }
    for odd in ["null_execution_time", "no_optional_fields", "null_optional_fields", "bare_object"] {
        cloud.no_faults().await;
        cloud.fault(json!({"do": {"alter": [odd]}})).await;
        for name in CALLS {
            let answer = call(&client(&cloud), name).await.expect("an answer");
            assert!(answer.contains("r2") || name == "dag", "{name}, {odd}: {answer}");
        }
    }
}
