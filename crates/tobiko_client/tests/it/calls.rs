//! Each call: what is asked, and what is made of the answer.
use tobiko_client::{EvaluationsQuery, NodeType, RunsQuery, Sort, SourceType, Status};

use crate::cloud::{Cloud, Reply, html, json, reply, settings, status};

const DAG: &str = r#"{
    "environment": "prod", "start_at": "2024-05-01T00:00:00Z", "schedule_seconds": 300, "schedule_cron": "*/5 * * * *",
    "link": "https://cloud.test/environments/prod", "new_field": {"a": [1]},
    "nodes": [
        {"name": "\"wh\".\"raw\"", "model_name": "wh.raw", "description": "Raw", "source_type": "external", "tags": ["gen"],
         "parent_names": [], "audit_names": [], "type": "model", "link": "https://cloud.test/raw"},
        {"name": "\"wh\".\"orders\"", "model_name": "wh.orders", "source_type": "sql", "tags": null,
         "parent_names": ["\"wh\".\"raw\"", "elsewhere"], "audit_names": ["not_null"], "type": "model"},
        {"name": "covers", "description": null, "source_type": "audit", "parent_names": ["\"wh\".\"orders\""], "type": "audit"},
        {"name": "odd", "source_type": "quantum", "type": "thing", "description": 5, "tags": "one", "parent_names": {"a": 1}},
        {"nameless": true}, null, 42
    ]}"#;

const EVALUATION: &str = r#"{
    "evaluation_id": "e1", "node_name": "\"wh\".\"orders\"", "run_id": "r1", "start_at": "2024-05-01T02:00:00",
    "end_at": "2024-05-01 02:00:01+00:00", "error_message": null, "log": "Evaluated\n", "status": "success",
    "link": "https://cloud.test/e1", "log_link": "https://cloud.test/e1/logs",
    "audits": [
        {"name": "not_null", "execution_time": null, "interval_start": "2024-05-01T01:55:00Z",
         "interval_end": "2024-05-01T02:00:00Z", "status": "failed", "log": null, "link": "l", "log_link": "ll"},
        "odd"
    ]}"#;

fn time(text: &str) -> Option<jiff::Timestamp> {
    Some(text.parse().unwrap())
}

/// A server that gives the same answer to everything.
async fn always(reply: fn() -> Reply) -> Cloud {
    Cloud::start(move |_| reply()).await
}

#[tokio::test]
async fn a_dag_is_read_with_all_its_oddities() {
    let cloud = always(|| json(DAG)).await;
    let dag = cloud.client().dag("prod").await.unwrap().unwrap();
    assert_eq!(dag.environment, "prod");
    assert_eq!(dag.start_at, time("2024-05-01T00:00:00Z"));
    assert_eq!(dag.schedule_seconds, Some(300));
    assert_eq!(dag.schedule_cron.as_deref(), Some("*/5 * * * *"));
    assert_eq!(dag.link.as_deref(), Some("https://cloud.test/environments/prod"));
    let names: Vec<&str> = dag.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["\"wh\".\"raw\"", "\"wh\".\"orders\"", "covers", "odd"]);
    let [raw, orders, covers, odd] = dag.nodes.as_slice() else { panic!() };
    assert_eq!((&raw.source_type, &raw.node_type), (&SourceType::External, &NodeType::Model));
    assert_eq!(raw.tags, ["gen"]);
    assert_eq!(orders.parent_names, ["\"wh\".\"raw\"", "elsewhere"]);
    assert_eq!((orders.tags.len(), orders.description.as_deref(), orders.link.as_deref()), (0, None, None));
    assert!(covers.is_audit() && !orders.is_audit());
    assert_eq!(odd.source_type, SourceType::Unknown("quantum".into()));
    assert_eq!(odd.node_type.to_string(), "thing");
    assert_eq!(odd.description.as_deref(), Some("5"));
    assert_eq!(odd.tags, ["one"]);

    let seen = cloud.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/sqlmesh/demo/api/v1/dags/prod"));
    assert_eq!((seen[0].method.as_str(), seen[0].query.as_str()), ("GET", ""));
    assert_eq!(seen[0].authorization, "Bearer static-token");
}

#[tokio::test]
async fn evaluations_are_read_with_their_audits() {
    let cloud = always(|| json(format!("[{EVALUATION}]"))).await;
    let client = cloud.client();
    let found = client.run_evaluations("r1", None, Vec::new).await.unwrap();
    let [evaluation] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((evaluation.run_id.as_deref(), evaluation.plan_id.as_deref()), (Some("r1"), None));
    assert_eq!(evaluation.start_at, time("2024-05-01T02:00:00Z"));
    assert_eq!(evaluation.end_at, time("2024-05-01T02:00:01Z"));
    assert!(evaluation.ended_well() && !evaluation.failed());
    let [audit] = evaluation.audits.as_slice() else { panic!() };
    assert_eq!((audit.name.as_str(), &audit.status, audit.execution_time), ("not_null", &Status::Failed, None));
    assert_eq!(audit.interval_end, time("2024-05-01T02:00:00Z"));
    // What was read is written and read as the same.
    let written = serde_json::to_string(evaluation).unwrap();
    assert_eq!(&serde_json::from_str::<tobiko_client::Evaluation>(&written).unwrap(), evaluation);

    client.run_evaluations("r/2", Some("\"a b\".\"c+d\""), Vec::new).await.unwrap();
    let asked = &cloud.seen()[1];
    assert_eq!(asked.path, "/sqlmesh/demo/api/v1/runs/r%2F2/evaluations");
    assert_eq!(asked.query, "node_name=%22a%20b%22.%22c%2Bd%22");
}

#[tokio::test]
async fn queries_hold_what_was_given_and_nothing_else() {
    let cloud = always(|| json("[]")).await;
    let client = cloud.client();
    client.runs(&RunsQuery::default()).await.unwrap();
    let runs = RunsQuery {
        environment: Some("release/1.2".into()),
        last: Some(true),
        since_run_id: Some("r0".into()),
        sort: Some(Sort::Asc),
        limit: Some(26),
    };
    client.runs(&runs).await.unwrap();
    client.evaluations(&EvaluationsQuery::default()).await.unwrap();
    let evaluations = EvaluationsQuery {
        run_id: Some("r1".into()),
        plan_id: Some("p1".into()),
        environment: Some("prod".into()),
        latest: Some(false),
        node_name: Some("\"x\"&y".into()),
        sort: Some(Sort::Desc),
        limit: Some(1),
    };
    client.evaluations(&evaluations).await.unwrap();
    let asked: Vec<String> = cloud.seen().iter().map(|seen| format!("{}?{}", seen.path, seen.query)).collect();
    assert_eq!(
        asked,
        [
            "/sqlmesh/demo/api/v1/runs?",
            "/sqlmesh/demo/api/v1/runs?environment=release%2F1.2&last=true&since_run_id=r0&sort=asc&limit=26",
            "/sqlmesh/demo/api/v1/evaluations?",
            "/sqlmesh/demo/api/v1/evaluations?run_id=r1&plan_id=p1&environment=prod&latest=false&node_name=%22x%22%26y&sort=desc&limit=1",
        ]
    );
    assert_eq!(client.requests(), 4);
}

#[tokio::test]
async fn single_records_are_read() {
    let cloud = Cloud::start(|seen| match seen.path.rsplit('/').next().unwrap() {
        "r1" => {
            json(r#"{"run_id": "r1", "environment": "prod", "status": "aborted", "end_at": "2024-05-01T02:00:00Z"}"#)
        }
        "e1" => json(EVALUATION),
        _ => status(404, r#"{"detail": "Not Found"}"#),
    })
    .await;
    let client = cloud.client();
    let run = client.run("r1").await.unwrap().unwrap();
    assert_eq!((run.environment.as_str(), &run.status), ("prod", &Status::Aborted));
    assert!(run.ended() && !run.ended_well());
    assert_eq!(client.evaluation("e1").await.unwrap().unwrap().node_name, "\"wh\".\"orders\"");
    assert_eq!(client.run("r2").await, Ok(None));
    assert_eq!(client.evaluation("e2").await, Ok(None));
    assert_eq!(client.dag("nowhere").await, Ok(None));
    assert_eq!(client.runs(&RunsQuery::default()).await, Ok(vec![]));
    assert_eq!(client.run_evaluations("r2", None, Vec::new).await, Ok(vec![]));
    let before = client.requests();
    assert_eq!(client.dag("").await, Ok(None));
    assert_eq!(client.run_evaluations("..", None, Vec::new).await, Ok(vec![]));
    assert_eq!(client.requests(), before, "what names nothing is not asked for");
}

#[tokio::test]
async fn a_list_may_be_one_object_or_null() {
    let cloud = Cloud::start(|seen| match seen.before {
        0 => json(r#"{"run_id": "only"}"#),
        1 => json("null"),
        2 => json(r#"[{"run_id": 7}, {"status": "success"}, [], {"run_id": "b", "status": null, "start_at": "soon"}]"#),
        _ => status(204, ""),
    })
    .await;
    let client = cloud.client();
    let mut found = Vec::new();
    for _ in 0..4 {
        let runs = client.runs(&RunsQuery::default()).await.unwrap();
        found.push(runs.iter().map(|run| run.run_id.clone()).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec!["only"], vec![], vec!["7", "b"], vec![]]);
}

#[tokio::test]
async fn a_base_url_needs_no_trailing_slash_and_no_path() {
    let cloud = always(|| json("[]")).await;
    for (base, expected) in [
        ("", "/api/v1/runs"),
        ("/", "/api/v1/runs"),
        ("/a", "/a/api/v1/runs"),
        ("/a/b/", "/a/b/api/v1/runs"),
        ("/a?x=1#y", "/a/api/v1/runs"),
    ] {
        let client = tobiko_client::Client::new(settings(&format!("{}{base}", cloud.origin))).unwrap();
        client.runs(&RunsQuery::default()).await.unwrap();
        let last = cloud.seen().pop().unwrap();
        assert_eq!((last.path.as_str(), last.query.as_str()), (expected, ""), "{base}");
    }
}

#[tokio::test]
async fn a_404_that_is_a_page_is_no_missing_environment() {
    let cloud = always(|| html(404, "<html><title>404 Not Found</title></html>")).await;
    let error = cloud.client().dag("prod").await.unwrap_err();
    assert!(matches!(error, tobiko_client::Error::UnexpectedResponse { .. }), "{error}");
    assert!(
        error.to_string().contains("check TCLOUD_BASE_URL") && error.to_string().contains("404 Not Found"),
        "{error}"
    );
    assert!(cloud.client().runs(&RunsQuery::default()).await.is_err());
}

#[tokio::test]
async fn an_answer_may_be_gzipped() {
    let cloud = Cloud::start(|seen| {
        assert!(seen.headers.iter().any(|(name, value)| name == "accept-encoding" && value.contains("gzip")));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, br#"[{"run_id": "zipped"}]"#).unwrap();
        let mut body = gzip.finish().unwrap();
        if seen.before == 0 {
            body.truncate(body.len() - 12);
        }
        reply(200, vec![("content-encoding", "gzip".into())], body)
    })
    .await;
    let client = cloud.client();
    assert_eq!(client.runs(&RunsQuery::default()).await.unwrap()[0].run_id, "zipped");
    assert_eq!(client.requests(), 2, "the first answer was cut short");
}

#[test]
fn what_ended_and_how() {
    fn check(run: &str, ended: bool, ended_well: bool) {
        let run: tobiko_client::Run = serde_json::from_str(run).unwrap();
        assert_eq!((run.ended(), run.ended_well()), (ended, ended_well), "{run:?}");
        let evaluation: tobiko_client::Evaluation =
            serde_json::from_value(serde_json::to_value(&run).unwrap()).unwrap();
        assert_eq!((evaluation.ended(), evaluation.ended_well()), (ended, ended_well), "{evaluation:?}");
    }
    const END: &str = r#""end_at":"2024-05-01T02:00:00Z""#;
    check(r#"{"status":"scheduled"}"#, false, false);
    check(r#"{"status":"in_progress"}"#, false, false);
    check(r#"{"status":"in_progress","error_message":"x"}"#, false, false);
    check(r#"{}"#, false, false);
    check(r#"{"status":"new"}"#, false, false);
    check(r#"{"status":"success"}"#, true, true);
    check(r#"{"status":"skipped"}"#, true, true);
    check(r#"{"status":"success","error_message":"  "}"#, true, true);
    check(r#"{"status":"success","error_message":"x"}"#, true, false);
    check(r#"{"status":"failed"}"#, true, false);
    check(r#"{"status":"preempted"}"#, true, false);
    check(r#"{"status":"aborted"}"#, true, false);
    check(&format!(r#"{{"status":"in_progress",{END}}}"#), true, false);
    check(&format!(r#"{{"status":"new",{END}}}"#), true, false);
    check(&format!(r#"{{{END}}}"#), true, false);
}

/// It need not run: that it compiles says that each call can be spawned on a runtime with many threads.
#[test]
fn calls_can_be_spawned() {
    fn check<T: Send>(_: T) {}
    let client = tobiko_client::Client::new(settings("http://127.0.0.1:1")).unwrap();
    check(client.dag("e"));
    check(client.runs(&RunsQuery::default()));
    check(client.run("r"));
    check(client.run_evaluations("r", None, Vec::new));
    check(client.evaluations(&EvaluationsQuery::default()));
    check(client.evaluation("e"));
}
