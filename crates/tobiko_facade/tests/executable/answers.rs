//! What `poll` and `definitions` answer to programs.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::process::{json as answer, run, tick};

async fn poll(cloud: &Cloud, since: &[&str]) -> Value {
    answer(&run(&[&["poll"], since].concat(), &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await)
}

fn ids(news: &Value) -> Vec<&str> {
    news["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_run_is_no_news() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    let news = poll(&cloud, &[]).await;
    assert_eq!((ids(&news).len(), &news["fingerprint"]), (0, &Value::Null));
}

#[tokio::test]
async fn runs_come_oldest_first_with_the_manifests_fingerprint() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    for n in 0..3 {
        cloud.feed_run_at(&format!("r{n}"), n).await;
    }
    assert_eq!(ids(&poll(&cloud, &[]).await), ["r0", "r1", "r2"]);
    let news = poll(&cloud, &["--since", "r0"]).await;
    assert_eq!(ids(&news), ["r1", "r2"]);
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    let manifest = answer(&run(&["definitions", "--asset-prefix", "cloud"], &environment).await);
    assert_eq!(news["fingerprint"], manifest["fingerprint"]);
    let news = poll(&cloud, &["--since", "r2"]).await;
    assert_eq!((ids(&news).len(), &news["fingerprint"]), (0, &Value::Null));
}

#[tokio::test]
async fn of_many_missed_runs_the_newest_25_come_and_the_rest_is_counted() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    for n in 0..40 {
        cloud.feed_run_at(&format!("r{n}"), n).await;
    }
    let news = poll(&cloud, &["--since", "r0"]).await;
    assert_eq!((ids(&news).len(), &news["missed"]), (25, &json!(14)));
    assert_eq!((ids(&news)[0], ids(&news)[24]), ("r15", "r39"));
}

#[tokio::test]
async fn a_run_that_the_cloud_forgot_brings_the_newest_only() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    for n in 0..3 {
        cloud.feed_run_at(&format!("r{n}"), n).await;
    }
    let news = poll(&cloud, &["--since", "gone"]).await;
    assert_eq!((ids(&news), &news["since_known"]), (vec!["r2"], &json!(false)));
}

#[tokio::test]
async fn an_environment_that_does_not_exist_yet_is_an_empty_manifest() {
    let cloud = Cloud::start().await;
    let output = run(&["definitions", "-e", "release/1.2"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await;
    let manifest = answer(&output);
    assert_eq!((&manifest["exists"], &manifest["nodes"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn a_manifest_names_its_cloud() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    let manifest = answer(&run(&["definitions"], &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await);
    assert_eq!(manifest["cloud"], "SQLMesh");
}

#[tokio::test]
async fn an_environment_as_it_was_typed_for_sqlmesh_is_found() {
    let cloud = Cloud::start().await;
    let node = json!({"name": "a", "model_name": "a", "description": null, "source_type": "sql", "tags": [],
        "parent_names": [], "audit_names": [], "type": "model", "version": "1"});
    let plan = json!({"type": "environment", "environment": "feature_one_1", "plan_id": "p", "start_at": null, "nodes": [node]});
    cloud.feed(&[plan]).await;
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    let manifest = answer(&run(&["definitions", "-e", "Feature/One-1"], &environment).await);
    assert_eq!((&manifest["exists"], &manifest["environment"]), (&json!(true), &json!("Feature/One-1")));
    for command in ["check", "sync", "poll"] {
        let output = run(&[command, "-e", "Feature/One-1"], &environment).await;
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

#[tokio::test]
async fn a_tick_finds_what_happened_in_an_environment_as_it_was_typed_for_sqlmesh() {
    let cloud = Cloud::start().await;
    let node = json!({"name": "a", "model_name": "a", "description": null, "source_type": "sql", "tags": [],
        "parent_names": [], "audit_names": [], "type": "model", "version": "1"});
    let of = json!({"environment": "feature_one_1"});
    let with = |fields: Value| {
        let mut event = of.clone();
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event
    };
    let evaluation = |owner: &str, id: &str| {
        let started = json!({"type": "evaluation_started", "evaluation_id": id, owner: id, "node_name": "a", "version": "1",
            "interval_start": null, "interval_end": null});
        [
            with(started),
            json!({"type": "evaluation_ended", "evaluation_id": id, "status": "success", "error_message": null}),
        ]
    };
    cloud.feed(&[with(json!({"type": "environment", "plan_id": "p", "start_at": null, "nodes": [node]}))]).await;
    let environment = [("TCLOUD_BASE_URL", cloud.base_url.as_str())];
    let manifest = answer(&run(&["definitions", "-e", "Feature/One-1"], &environment).await);
    let loaded = json!({"exists": true, "fingerprint": manifest["fingerprint"]});

    let first = tick(&cloud.base_url, "Feature/One-1", json!({"manifest": loaded})).await;
    let [sync] = &first["reply"]["requests"].as_array().unwrap()[..] else { panic!("no sync: {first}") };
    assert_eq!(sync["job"], "sync", "{first}");
    let synced = json!({"status": "SUCCESS", "is_running": false, "is_complete": true});
    let again = json!({"manifest": loaded, "cursor": first["reply"]["cursor"], "sync": synced});
    let idle = tick(&cloud.base_url, "Feature/One-1", again).await;
    assert_eq!((&idle["reply"]["requests"], idle["reply"]["skip_reason"].is_string()), (&json!([]), true), "{idle}");

    let [started, ended] = evaluation("run_id", "r1");
    let run_started = with(json!({"type": "run_started", "run_id": "r1"}));
    let run_ended = with(json!({"type": "run_ended", "run_id": "r1", "status": "success", "error_message": null}));
    cloud.feed(&[run_started, started, ended, run_ended]).await;
    let again = json!({"manifest": loaded, "cursor": idle["reply"]["cursor"], "sync": synced});
    let news = tick(&cloud.base_url, "Feature/One-1", again).await;
    let [mirror] = &news["reply"]["requests"].as_array().unwrap()[..] else { panic!("no mirror: {news}") };
    assert_eq!((&mirror["job"], &mirror["run_key"]), (&json!("mirror"), &json!("r1")), "{news}");

    let [started, ended] = evaluation("plan_id", "p2");
    let plan_started = with(json!({"type": "plan_started", "plan_id": "p2"}));
    let plan_ended = with(json!({"type": "plan_ended", "plan_id": "p2", "status": "success", "error_message": null}));
    cloud.feed(&[plan_started, started, ended, plan_ended]).await;
    let again =
        json!({"manifest": loaded, "cursor": news["reply"]["cursor"], "sync": synced, "mirrors": {"r1": synced}});
    let news = tick(&cloud.base_url, "Feature/One-1", again).await;
    let requests = news["reply"]["requests"].as_array().unwrap();
    assert!(requests.iter().any(|request| request["job"] == "sync"), "{news}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_reader_that_has_read_enough_is_no_error() {
    let cloud = Cloud::start().await;
    cloud.feed_environment().await;
    let script = r#""$0" definitions | true; echo "${PIPESTATUS[0]}""#;
    let mut command = tokio::process::Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tobiko-facade")]).env("TCLOUD_BASE_URL", &cloud.base_url);
    let output = command.output().await.unwrap();
    assert_eq!(
        (String::from_utf8_lossy(&output.stdout).trim(), output.stderr.as_slice()),
        ("0", &b""[..]),
        "{output:?}"
    );
}
