//! Runs whose process was killed.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cloud::Cloud;
use crate::events::{ORDERS, ended, plan, run};

async fn with_short_timeout() -> Cloud {
    Cloud::start_with(|settings| settings.stale_after = Duration::from_millis(300)).await
}

/// The run, as soon as it has ended.
async fn end_of(cloud: &Cloud, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let run = cloud.get(path).await;
        if !run["end_at"].is_null() {
            return run;
        }
        assert!(Instant::now() < deadline, "it never ended: {run}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_run_without_a_heartbeat_fails_with_a_message() {
    let cloud = with_short_timeout().await;
    let r1 = run("r1");
    cloud.ingest(&[r1.started(1), r1.evaluating(2, "e1", ORDERS, "v1"), r1.scheduled(2, "e2", ORDERS, "v1")]).await;
    let run = end_of(&cloud, "/runs/r1").await;
    assert_eq!(run["status"], "failed");
    assert!(run["error_message"].as_str().is_some_and(|text| text.contains("stopped reporting")), "{run}");
    // Open evaluations stay open, as a crashed scheduler leaves them; those that never began go.
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["in_progress"]);
    assert!(cloud.page("/environments/prod/runs/r1").await.contains("never ended"));
}

#[tokio::test]
async fn a_heartbeat_keeps_a_run_alive() {
    let cloud = with_short_timeout().await;
    cloud.ingest(&[run("r1").started(1), plan("p1").started(1)]).await;
    let until = Instant::now() + Duration::from_millis(900);
    while Instant::now() < until {
        cloud.ingest(&[run("r1").heartbeat(2), plan("p1").heartbeat(2)]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cloud.get("/runs/r1").await["end_at"].is_null());
    assert!(cloud.page("/environments/prod/plans/p1").await.contains("in progress"));
    end_of(&cloud, "/runs/r1").await;
}

#[tokio::test]
async fn the_true_end_wins_over_the_assumed_one() {
    let cloud = with_short_timeout().await;
    let r1 = run("r1");
    cloud.ingest(&[r1.started(1), r1.evaluating(2, "e1", ORDERS, "v1")]).await;
    end_of(&cloud, "/runs/r1").await;
    // It was only cut off: what it could not send comes now.
    cloud.ingest(&r1.evaluated(5, "e2", ORDERS, "v1")).await;
    cloud.ingest(&[ended(6, "e1", "success", None), r1.ended(7, "success", None)]).await;
    let run = cloud.get("/runs/r1").await;
    assert_eq!(run["status"], "success");
    assert_eq!(run["end_at"], "2024-05-01T00:00:07Z");
    assert!(run["error_message"].is_null());
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await, ["success", "success"]);
}
