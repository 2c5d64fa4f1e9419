//! What goes over the channel to Dagster: to stdout, as our own Python side opens it.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::process::{run, stderr, stdout};

fn packed(parameters: &Value) -> String {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(parameters.to_string().as_bytes()).unwrap();
    STANDARD.encode(encoder.finish().unwrap())
}

fn variables(parameters: &Value) -> [(&'static str, String); 2] {
    let context = json!({"data": {"asset_keys": null, "code_version_by_asset_key": null, "extras": {"nodes": ["a", "b", "gone"]},
        "job_name": "job", "partition_key": null, "partition_key_range": null, "partition_time_window": null,
        "provenance_by_asset_key": null, "retry_number": 0, "run_id": "dagster-run"}});
    [("DAGSTER_PIPES_CONTEXT", packed(&context)), ("DAGSTER_PIPES_MESSAGES", packed(parameters))]
}

/// Runs the executable as it is launched from Dagster; the messages, and its exit code.
async fn launch(cloud: &Cloud, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let [context, parameters] = variables(&json!({"stdio": "stdout"}));
    let environment = [
        ("TCLOUD_BASE_URL", cloud.base_url.as_str()),
        (context.0, context.1.as_str()),
        (parameters.0, parameters.1.as_str()),
    ];
    let output = run(arguments, &environment).await;
    assert_eq!(stderr(&output), "");
    (parsed(&stdout(&output)), output.status.code())
}

fn parsed(text: &str) -> Vec<Value> {
    assert!(text.lines().all(|line| line.len() <= 15 * 1024));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One word for each message.
fn words(messages: &[Value]) -> Vec<String> {
    let word = |message: &Value| match message["method"].as_str().unwrap() {
        "report_custom_message" => {
            let payload = &message["params"]["payload"];
            let detail = payload["outcome"].as_str().map(|outcome| format!("={outcome}")).unwrap_or_default();
            format!(
                "{}{}{detail}",
                payload["tobiko"].as_str().unwrap(),
                payload["node"].as_str().map(|n| format!(" {n}")).unwrap_or_default()
            )
        }
        "report_asset_materialization" => {
            format!("materialization {}", message["params"]["asset_key"].as_str().unwrap())
        }
        "report_asset_check" => format!("check {}", message["params"]["check_name"].as_str().unwrap()),
        other => other.to_owned(),
    };
    messages.iter().map(word).collect()
}

#[tokio::test]
async fn a_run_is_reported_task_by_task_and_closed_once() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "success", None).await;
    let (messages, code) = launch(&cloud, &["mirror", "--run-id", "r1"]).await;
    let expected = [
        "opened",
        "run",
        "task b=nothing_due",
        "task gone=nothing_due",
        "materialization a",
        "check not_null",
        "task a=success",
        "done=success",
        "closed",
    ];
    assert_eq!((words(&messages), code), (expected.map(str::to_owned).to_vec(), Some(0)));
    assert_eq!(
        messages[7]["params"]["payload"]["messages"], 6,
        "how many there were between `opened` and the last one"
    );
    let metadata = &messages[4]["params"]["metadata"];
    assert_eq!(metadata["Tobiko Cloud Run Id"], json!({"raw_value": "r1", "type": "text"}));
    assert_eq!(metadata["Materialization Timestamp"]["type"], "float");
    assert_eq!(metadata["Log Link"]["type"], "url");
}

#[tokio::test]
async fn a_failed_run_exits_0_since_python_raises_it() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "failed", Some(&format!("no such table: {}", "é".repeat(500_000)))).await;
    let (messages, code) = launch(&cloud, &["mirror"]).await;
    assert_eq!(code, Some(0));
    let sent = words(&messages);
    assert!(sent.contains(&"task a=failure".to_owned()) && sent.contains(&"task b=skipped".to_owned()), "{sent:?}");
    assert!(sent.contains(&"done=failure".to_owned()) && !sent.contains(&"materialization a".to_owned()), "{sent:?}");
    let check = messages.iter().find(|message| message["method"] == "report_asset_check").unwrap();
    assert_eq!((&check["params"]["passed"], &check["params"]["severity"]), (&json!(false), &json!("ERROR")));
}

#[tokio::test]
async fn what_cannot_be_reported_is_given_up_with_a_reason() {
    let cloud = Cloud::start().await;
    let (messages, code) = launch(&cloud, &["mirror", "--run-id", "gone"]).await;
    assert_eq!((words(&messages).join(" "), code), ("opened done=gave_up closed".to_owned(), Some(0)));
    assert!(messages[1]["params"]["payload"]["reason"].as_str().unwrap().contains("gone"));
}

#[tokio::test]
async fn a_mirror_of_one_node_reports_that_node_only() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run("r1", "failed", Some("broken")).await;
    let (messages, _) = launch(&cloud, &["mirror", "--node", "b"]).await;
    assert_eq!(words(&messages).join(" "), "opened run task b=skipped done=success closed");
}

#[tokio::test]
async fn sync_reports_the_newest_good_state_and_the_newest_checks() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    cloud.feed_run_at("r1", 1).await;
    cloud.feed_failed_run_at("r2", 2).await;
    let (messages, _) = launch(&cloud, &["sync"]).await;
    assert_eq!(
        words(&messages).join(" "),
        "opened materialization a check not_null task a=failure done=success closed"
    );
    assert_eq!(messages[1]["params"]["metadata"]["Tobiko Cloud Run Id"]["raw_value"], "r1");
    assert_eq!(messages[2]["params"]["metadata"]["Tobiko Cloud Evaluation Id"]["raw_value"], "r2-a");
    let (messages, _) = launch(&cloud, &["sync", "--node", "b"]).await;
    assert_eq!(words(&messages).join(" "), "opened task b=nothing_due done=success closed");
}

#[tokio::test]
async fn a_channel_of_another_kind_is_refused_in_a_sentence() {
    let environment = [
        ("TCLOUD_BASE_URL", "http://127.0.0.1:9"),
        ("DAGSTER_PIPES_CONTEXT", "x"),
        ("DAGSTER_PIPES_MESSAGES", &packed(&json!({"bucket": "b"}))),
    ];
    let output = run(&["sync"], &environment).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("message reader") && !stderr(&output).contains("panicked"), "{}", stderr(&output));
}
