//! Several SQLMesh projects on one server.

use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::cloud::{Cloud, client_builder};
use crate::events::{ITEMS, ORDERS, environment, model, plan, run};

/// Events of a project that the recorder has named itself.
fn derived(name: &str, state: Option<&str>, events: &[Value]) -> Vec<Value> {
    let of = |event: &Value| {
        let mut event = event.clone();
        event["project"] = name.into();
        event["state"] = state.into();
        event
    };
    events.iter().map(of).collect()
}

/// Events of a project that a person has named.
fn named(name: &str, state: &str, events: &[Value]) -> Vec<Value> {
    let mut events = derived(name, Some(state), events);
    events.iter_mut().for_each(|event| event["project_is_named"] = true.into());
    events
}

/// `bank` and `shop`, which have the same models in an environment of the same name.
async fn two_projects() -> Cloud {
    let cloud = Cloud::start().await;
    for (project, run, evaluation) in [("shop", run("r1"), "e1"), ("bank", run("r2"), "e2")] {
        let mut events = vec![environment("prod", 1, &[model(ORDERS, "v1")]), run.started(2)];
        events.extend(run.evaluated(3, evaluation, ORDERS, "v1"));
        cloud.ingest(&named(project, project, &events)).await;
    }
    cloud
}

impl Cloud {
    /// The same server by the base URL of a project.
    async fn at(&self, project: &str, path: &str) -> (StatusCode, Value) {
        let response = self.request(&format!("/projects/{project}/api/v1{path}")).send().await.expect("a response");
        (response.status(), response.json().await.expect("JSON"))
    }
}

#[tokio::test]
async fn each_project_has_a_base_url_of_its_own() {
    let cloud = two_projects().await;
    for (project, run, evaluation) in [("shop", "r1", "e1"), ("bank", "r2", "e2")] {
        let base = format!("{}/projects/{project}", cloud.base);
        let (_, dag) = cloud.at(project, "/dags/prod").await;
        assert_eq!(dag["link"], format!("{base}/environments/prod"));
        let (_, runs) = cloud.at(project, "/runs").await;
        assert_eq!(runs.as_array().map(Vec::len), Some(1));
        assert_eq!(runs[0]["run_id"], run);
        for path in ["/evaluations?environment=prod&latest=true", "/evaluations", "/evaluations?environment=prod"] {
            let (_, evaluations) = cloud.at(project, path).await;
            assert_eq!(evaluations.as_array().map(Vec::len), Some(1), "{path}: {evaluations}");
            assert_eq!(evaluations[0]["evaluation_id"], evaluation, "{path}");
        }
        let (_, info) = cloud.at(project, "/info").await;
        assert_eq!(info["project"], project);
        let page = cloud.page(runs[0]["link"].as_str().expect("a link")).await;
        assert!(page.contains(&format!(">{project}</a>")), "{page}");
        assert!(page.contains(&format!("href=\"/projects/{project}/environments/prod\"")), "{page}");
    }
    for path in ["/runs/r2", "/runs?since_run_id=r2", "/evaluations/e2", "/runs/r2/evaluations"] {
        assert_eq!(cloud.at("shop", path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, answer) = cloud.at("nowhere", "/runs").await;
    assert_eq!(
        (status, answer["detail"].as_str()),
        (StatusCode::NOT_FOUND, Some("this server holds no project \"nowhere\""))
    );
}

#[tokio::test]
async fn the_plain_base_url_names_the_projects_when_there_are_several() {
    let cloud = two_projects().await;
    let base = &cloud.base;
    let expected = format!(
        "this server holds several projects: use one of these base URLs: {base}/projects/bank, {base}/projects/shop"
    );
    for path in ["/runs", "/dags/prod", "/evaluations", "/plans", "/runs/r1"] {
        assert_eq!(cloud.any(path).await, (StatusCode::CONFLICT, json!({"detail": expected})), "{path}");
    }
    let info = json!({"version": env!("CARGO_PKG_VERSION"), "project": null, "projects": [
        {"name": "bank", "base_url": format!("{base}/projects/bank")},
        {"name": "shop", "base_url": format!("{base}/projects/shop")},
    ]});
    assert_eq!(cloud.get("/info").await, info);
    let page = cloud.page("/").await;
    assert!(page.contains("href=\"/projects/bank/\"") && page.contains("href=\"/projects/shop/\""), "{page}");
}

#[tokio::test]
async fn links_from_before_the_second_project_still_lead_to_their_pages() {
    let cloud = two_projects().await;
    let client = client_builder().redirect(Policy::none()).build().expect("a client");
    let get = async |path: &str| client.get(format!("{}{path}", cloud.base)).send().await.expect("a response");
    let moved = get("/environments/prod/runs/r1?tab=explore&evaluation_id=e1").await;
    assert_eq!(moved.status(), StatusCode::TEMPORARY_REDIRECT);
    let target = "/projects/shop/environments/prod/runs/r1?tab=explore&evaluation_id=e1";
    assert_eq!(moved.headers()["location"], target);
    cloud.page(target).await;
    let choice = get("/environments/prod").await;
    assert_eq!(choice.status(), StatusCode::MULTIPLE_CHOICES);
    let choice = choice.text().await.expect("text");
    assert!(choice.contains("href=\"/projects/bank/environments/prod\""), "{choice}");
}

#[tokio::test]
async fn the_only_project_is_served_by_both_base_urls() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.get("/info").await["project"], json!(null));
    cloud.ingest(&derived("", Some("a"), &[run("r1").started(1)])).await;
    assert_eq!(cloud.get("/runs/r1").await["run_id"], "r1");
    let (status, run) = cloud.at("default", "/runs/r1").await;
    assert_eq!(status, StatusCode::OK);
    cloud.page(run["link"].as_str().expect("a link")).await;
    let info = cloud.get("/info").await;
    assert_eq!(info["project"], "");
    assert_eq!(info["projects"], json!([{"name": "", "base_url": format!("{}/projects/default", cloud.base)}]));
}

#[tokio::test]
async fn a_second_state_without_a_name_is_refused() {
    let cloud = Cloud::start().await;
    let dag = |models: &[Value]| environment("prod", 1, models);
    cloud.ingest(&derived("", Some("a"), &[dag(&[model(ORDERS, "v1")])])).await;
    let second = derived("", Some("b"), &[dag(&[model(ITEMS, "v1")]), run("r1").started(2), plan("p1").started(3)]);
    let result = cloud.send(&second).await;
    assert_eq!(result["accepted"], 0, "{result}");
    assert_eq!(
        result["refused"][0]["reason"],
        "project '' is already fed from another SQLMesh state: name the projects with TOBIKO_PROJECT_NAME"
    );
    assert_eq!(cloud.get("/dags/prod").await["nodes"][0]["name"], ORDERS);
    cloud.missing("/runs").await;
    // Refused events are not remembered: with a name, they may be sent again.
    assert_eq!(cloud.send(&named("bank", "b", &second)).await["accepted"], 3);
    // A derived name stands for one state, too.
    cloud.ingest(&derived("shop", Some("c"), &[run("r2").started(1)])).await;
    assert_eq!(cloud.send(&derived("shop", Some("d"), &[run("r3").started(1)])).await["accepted"], 0);
    // A name that a person gave is taken at its word.
    cloud.ingest(&named("shop", "d", &[run("r3").started(1)])).await;
}

#[tokio::test]
async fn the_first_name_takes_over_what_was_recorded_without_one() {
    for (state, is_taken_over) in [(None, true), (Some("a"), true), (Some("b"), false)] {
        let cloud = Cloud::start().await;
        cloud.ingest(&derived("", state, &[run("r1").started(1)])).await;
        cloud.ingest(&named("shop", "a", &[run("r2").started(2)])).await;
        let projects = cloud.get("/info").await["projects"].as_array().map(Vec::len);
        assert_eq!(projects, Some(if is_taken_over { 1 } else { 2 }), "{state:?}");
        if is_taken_over {
            assert_eq!(cloud.column("/runs?sort=asc", "run_id").await, ["r1", "r2"]);
        }
    }
}

#[tokio::test]
async fn events_may_be_sent_to_the_base_url_of_their_project() {
    let cloud = Cloud::start().await;
    let send = async |project: &str, events: &[Value]| {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let request = cloud.client.post(format!("{}/projects/{project}/recorder/v1/events", cloud.base));
        let response = request.header("content-type", "application/x-ndjson").body(lines).send().await;
        response.expect("a response").json::<Value>().await.expect("JSON")
    };
    assert_eq!(send("a%20b", &[run("r1").started(1)]).await["accepted"], 1);
    assert_eq!(cloud.get("/info").await["project"], "a b");
    let contradiction = send("shop", &named("bank", "x", &[run("r2").started(1)])).await;
    assert_eq!(
        contradiction["refused"][0]["reason"],
        "the events of project 'bank' were sent to the base URL of project 'shop'"
    );
    assert_eq!(cloud.get("/info").await["projects"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_refused_event_makes_no_project() {
    let cloud = Cloud::start().await;
    let mut end = run("r1").ended(1, "success", None);
    end["status"] = "in_progress".into();
    let lone = crate::events::ended(1, "e1", "success", None);
    assert_eq!(cloud.send(&named("shop", "a", &[end, lone])).await["accepted"], 0);
    assert_eq!(cloud.get("/info").await["projects"], json!([]));
}

#[tokio::test]
async fn a_project_has_its_own_token_endpoint() {
    let cloud = Cloud::start_closed().await;
    let request = cloud.client.post(format!("{}/projects/shop/auth/token", cloud.base));
    let request = request.basic_auth(crate::cloud::CLIENT_ID, Some(crate::cloud::CLIENT_SECRET));
    let response = request.form(&[("grant_type", "client_credentials")]).send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(cloud.at("shop", "/runs").await.0, StatusCode::UNAUTHORIZED);
}
