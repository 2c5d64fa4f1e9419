//! `POST /recorder/v1/events`

use reqwest::StatusCode;
use serde_json::json;

use crate::cloud::Cloud;
use crate::events::{ORDERS, audited, ended, environment, model, plan, run};

#[tokio::test]
async fn an_event_sent_twice_is_stored_once() {
    let cloud = Cloud::start().await;
    let events = [
        run("r1").started(1),
        run("r1").evaluating(2, "e1", ORDERS, "v1"),
        audited(3, "e1", "not_null", "success"),
        ended(4, "e1", "success", None),
    ];
    let first = cloud.send(&events).await;
    assert_eq!(first, json!({"accepted": 4, "known": 0, "refused": []}));
    let again = cloud.send(&events).await;
    assert_eq!(again, json!({"accepted": 0, "known": 4, "refused": []}));
    let evaluation = cloud.get("/evaluations/e1").await;
    assert_eq!(evaluation["audits"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_event_that_cannot_be_accepted_is_refused_and_spoils_no_other() {
    let cloud = Cloud::start().await;
    let mut status = ended(2, "e1", "success", None);
    status["status"] = "great".into();
    let mut open = ended(2, "e1", "success", None);
    open["status"] = "in_progress".into();
    let mut time = run("r1").started(1);
    time["at"] = "yesterday".into();
    let mut both = run("r1").heartbeat(1);
    both["plan_id"] = "p1".into();
    let mut source = environment("prod", 1, &[model(ORDERS, "v1")]);
    source["nodes"][0]["source_type"] = "perl".into();
    let nowhere = ended(2, "nowhere", "success", None);
    let unknown = json!({"id": "x", "at": "2024-05-01", "type": "party"});
    let nameless = json!({"at": "2024-05-01", "type": "heartbeat", "run_id": "r1"});

    cloud.ingest(&[run("r1").evaluating(1, "e1", ORDERS, "v1")]).await;
    let bad = [&status, &open, &time, &both, &source, &nowhere, &unknown, &nameless];
    let mut lines: Vec<String> = bad.iter().map(ToString::to_string).collect();
    lines.extend(["[1, 2]".to_owned(), "{\"id\": ".to_owned(), "  ".to_owned()]);
    lines.push(ended(3, "e1", "success", None).to_string());
    let result = cloud.send_text(lines.join("\r\n")).await;

    assert_eq!(result["accepted"], 1, "{result}");
    let refused = result["refused"].as_array().expect("a list");
    let ids: Vec<_> = refused.iter().map(|one| &one["id"]).collect();
    let mut expected: Vec<_> = bad.iter().map(|event| event["id"].clone()).collect();
    expected.extend([json!(null), json!(null)]);
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    assert!(refused.iter().all(|one| one["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    assert_eq!(cloud.get("/evaluations/e1").await["status"], "success");
}

#[tokio::test]
async fn times_that_the_recorder_does_not_know_are_filled_in() {
    let cloud = Cloud::start().await;
    let mut audit = audited(3, "e1", "not_null", "success");
    for field in ["execution_time", "interval_start", "interval_end", "args", "count", "log"] {
        audit[field] = json!(null);
    }
    let mut batch = run("r1").evaluating(2, "e1", ORDERS, "v1");
    batch["interval_end"] = json!(null);
    cloud.ingest(&[batch, audit]).await;
    let evaluation = cloud.get("/evaluations/e1").await;
    let audit = &evaluation["audits"][0];
    assert_eq!(audit["execution_time"], "2024-05-01T00:00:03Z");
    assert_eq!(audit["interval_start"], "2024-04-30T00:00:00Z");
    assert_eq!(audit["interval_end"], "2024-04-30T00:00:00Z");
}

#[tokio::test]
async fn an_end_that_overtakes_its_beginning_is_kept() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    cloud.ingest(&[r1.scheduled(1, "e1", ORDERS, "v1"), ended(5, "e1", "failed", Some("no"))]).await;
    assert_eq!(cloud.get("/evaluations/e1").await["start_at"], "2024-05-01T00:00:05Z");
    cloud.ingest(&[r1.evaluating(2, "e1", ORDERS, "v1")]).await;
    let evaluation = cloud.get("/evaluations/e1").await;
    assert_eq!(evaluation["start_at"], "2024-05-01T00:00:02Z");
    assert_eq!(evaluation["status"], "failed");
}

#[tokio::test]
async fn a_plan_that_is_applied_again_goes_on_again() {
    let cloud = Cloud::start().await;
    let p1 = plan("p1");
    cloud.ingest(&[p1.started(1), p1.ended(2, "failed", Some("no")), p1.started(3)]).await;
    let page = cloud.page("/environments/prod/plans/p1").await;
    assert!(page.contains("in progress") && !page.contains("<pre class=\"error\">"), "{page}");
}

#[tokio::test]
async fn long_texts_are_cut_and_odd_bytes_survive() {
    let cloud = Cloud::start().await;
    let long = "ü".repeat(1_000_000);
    let mut end = ended(3, "e1", "failed", Some(&long));
    end["log"] = long.as_str().into();
    cloud.ingest(&[run("r1").evaluating(1, "e1", ORDERS, "v1"), end]).await;
    let evaluation = cloud.get("/evaluations/e1").await;
    for field in ["log", "error_message"] {
        let text = evaluation[field].as_str().expect("a text");
        assert!(text.len() <= 256 * 1024 && text.contains("characters left out"), "{}", text.len());
    }
    let mut bytes = run("r2").started(9).to_string().into_bytes();
    let name = bytes.windows(4).position(|four| four == b"prod").expect("the name");
    bytes[name] = 0xff;
    assert_eq!(cloud.send_text(bytes).await["accepted"], 1);
}

#[tokio::test]
async fn a_web_page_of_somebody_else_cannot_write() {
    let cloud = Cloud::start().await;
    // What a browser sends without a preflight request.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = cloud.client.post(format!("{}/recorder/v1/events", cloud.base));
        let request = request.header("content-type", content_type).body(run("r1").started(1).to_string());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    cloud.missing("/runs").await;
}

#[tokio::test]
async fn a_batch_of_ten_thousand_events_is_accepted() {
    let cloud = Cloud::start().await;
    let r1 = run("r1");
    let events: Vec<_> = (0..5_000).flat_map(|n| r1.evaluated(n % 3600, &format!("e{n}"), ORDERS, "v1")).collect();
    cloud.ingest(&events).await;
    assert_eq!(cloud.column("/runs/r1/evaluations", "status").await.len(), 5_000);
}

#[tokio::test]
async fn half_a_surrogate_pair_does_not_lose_an_end() {
    let cloud = Cloud::start().await;
    cloud.ingest(&[run("r1").evaluating(1, "e1", ORDERS, "v1")]).await;
    let end = ended(2, "e1", "failed", Some("BROKEN")).to_string().replace("BROKEN", r"caf\udce9");
    assert_eq!(cloud.send_text(end).await["accepted"], 1);
    assert_eq!(cloud.get("/evaluations/e1").await["error_message"], "caf\u{fffd}");
}
