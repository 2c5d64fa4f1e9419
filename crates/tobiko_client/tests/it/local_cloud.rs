//! The calls that only a local cloud has, and what the client makes of a server that has none of them.
use tobiko_client::{PlansQuery, Project, RunsQuery, Sort};

use crate::cloud::{Cloud, Reply, Seen, html, json, status};

const PLAN: &str = r#"{"plan_id": "p1", "environment": "prod", "status": "failed", "start_at": "2024-05-01T02:00:00Z",
    "end_at": "2024-05-01T02:00:05Z", "error_message": "no such column", "link": "http://h/p1", "seq": 7, "evaluations": 3}"#;

fn local(reply: Reply) -> Reply {
    let mut headers = reply.headers;
    headers.push(("x-tobiko-local-cloud", "2.0.0".to_owned()));
    Reply { headers, ..reply }
}

#[tokio::test]
async fn plans_are_listed_and_read() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.strip_prefix("/sqlmesh/demo/api/v1/plans") {
        Some("") => json(format!("[{PLAN}]")),
        Some("/p1") => json(PLAN),
        Some("/open") => json(r#"{"plan_id": "open", "status": "in_progress", "seq": null}"#),
        _ => status(404, r#"{"detail": "Not Found"}"#),
    })
    .await;
    let client = cloud.client();
    let query = PlansQuery { environment: "dev 1".into(), since_seq: Some(6), limit: Some(5), sort: Some(Sort::Desc) };
    let [plan] = &client.plans(&query).await.unwrap().unwrap()[..] else { panic!() };
    assert_eq!((plan.plan_id.as_str(), plan.seq, plan.evaluations), ("p1", Some(7), 3));
    assert_eq!(plan.error_message.as_deref(), Some("no such column"));
    assert!(plan.ended() && plan.failed());
    assert_eq!(cloud.seen()[0].query, "environment=dev%201&since_seq=6&limit=5&sort=desc");
    assert_eq!(client.plan("p1").await.unwrap().as_ref(), Some(plan));
    let open = client.plan("open").await.unwrap().unwrap();
    assert_eq!((open.seq, open.ended(), open.failed()), (None, false, false));
    assert_eq!(client.plan("p2").await, Ok(None));
}

#[tokio::test]
async fn a_server_says_which_projects_it_holds() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        "/sqlmesh/demo/api/v1/info" => json(
            r#"{"version": "2.0.0", "project": null, "projects": [{"name": "", "base_url": "http://h/projects/default"}]}"#,
        ),
        _ => json(r#"{"version": "2.0.0", "project": "", "projects": []}"#),
    })
    .await;
    let info = cloud.client().info().await.unwrap().unwrap();
    assert_eq!((info.version.as_str(), info.project), ("2.0.0", None));
    assert_eq!(info.projects, [Project { name: String::new(), base_url: "http://h/projects/default".into() }]);
    let elsewhere = tobiko_client::Client::new(crate::cloud::settings(&cloud.origin)).unwrap();
    assert_eq!(elsewhere.info().await.unwrap().unwrap().project.as_deref(), Some(""));
}

#[tokio::test]
async fn an_environment_is_forgotten_once() {
    let cloud = Cloud::start(|seen: &Seen| match (seen.path.as_str(), seen.before) {
        ("/sqlmesh/demo/api/v1/environments/dev%2F1", 0) => local(status(204, "")),
        _ => local(status(404, r#"{"detail": "no such environment"}"#)),
    })
    .await;
    let client = cloud.client();
    assert_eq!(client.forget_environment("dev/1").await, Ok(true));
    assert_eq!(client.forget_environment("dev/1").await, Ok(false));
    let seen = cloud.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].authorization.as_str()), ("DELETE", "Bearer static-token"));
}

#[tokio::test]
async fn a_local_cloud_is_known_by_its_header() {
    let cloud = Cloud::start(|seen: &Seen| match seen.before {
        0 => json("[]"),
        1 => local(status(404, "")),
        _ => json("[]"),
    })
    .await;
    let client = cloud.client();
    for (is_local, name) in [(false, "Tobiko Cloud"), (true, "SQLMesh"), (true, "SQLMesh")] {
        client.runs(&RunsQuery::default()).await.unwrap();
        assert_eq!((client.is_local_cloud(), client.cloud_name()), (is_local, name));
    }
}

#[tokio::test]
async fn a_cloud_without_these_calls_may_answer_them_in_any_way() {
    type Answer = fn() -> Reply;
    let answers: [Answer; 6] = [
        || status(404, r#"{"detail": "Not Found"}"#),
        || html(404, "<html>"),
        || status(405, r#"{"detail": "Method Not Allowed"}"#),
        || status(403, ""),
        || html(200, "<html>"),
        || json(r#"{"detail": "welcome"}"#),
    ];
    for answer in answers {
        let cloud = Cloud::start(move |_| answer()).await;
        let client = cloud.client();
        assert_eq!(client.plans(&PlansQuery::default()).await, Ok(None));
        assert_eq!(client.plan("p").await, Ok(None));
        assert_eq!(client.info().await, Ok(None));
        assert_eq!(client.forget_environment("prod").await, Ok(false));
        assert_eq!(client.requests(), 4);
    }
    let cloud = Cloud::start(|_| local(status(409, r#"{"detail": "several projects"}"#))).await;
    let error = cloud.client().plans(&PlansQuery::default()).await.unwrap_err();
    assert!(error.to_string().ends_with("with status 409: several projects"), "{error}");
}
