//! What `poll` and `definitions` answer to programs.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::process::{json as answer, run};

async fn poll(cloud: &Cloud, since: &[&str]) -> Value {
    answer(&run(&[&["poll"], since].concat(), &[("TCLOUD_BASE_URL", cloud.base_url.as_str())]).await)
}

fn ids(news: &Value) -> Vec<&str> {
    news["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_run_is_no_news() {
    let cloud = Cloud::start().await;
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
