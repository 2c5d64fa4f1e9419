//! The token endpoint, and authentication.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::{CLIENT_ID, CLIENT_SECRET, Cloud};
use crate::events::run;

const FORM: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "tbk:scope:projects")];

impl Cloud {
    async fn login(&self, basic: Option<(&str, &str)>, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}/auth/token", self.base)).form(form);
        let request = match basic {
            Some((id, secret)) => request.basic_auth(id, Some(secret)),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }
}

#[tokio::test]
async fn client_credentials_by_basic_open_the_api_with_the_id_token() {
    let mut cloud = Cloud::start_closed().await;
    let (status, tokens) = cloud.login(Some((CLIENT_ID, CLIENT_SECRET)), &FORM).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(tokens["scope"], "tbk:scope:projects");

    cloud.bearer = tokens["id_token"].as_str().map(str::to_owned);
    cloud.ingest(&[run("r1").started(1)]).await;
    cloud.get("/runs/r1").await;

    cloud.bearer = tokens["access_token"].as_str().map(str::to_owned);
    let (status, answer) = cloud.any("/runs/r1").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(answer["detail"].is_string());
}

#[tokio::test]
async fn client_credentials_may_come_in_the_form() {
    let cloud = Cloud::start_closed().await;
    let form = [FORM[0], ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    let (status, tokens) = cloud.login(None, &form).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
}

#[tokio::test]
async fn a_wrong_client_gets_no_token() {
    let cloud = Cloud::start_closed().await;
    let refused = json!({"error": "invalid_client"});
    for basic in [None, Some((CLIENT_ID, "")), Some((CLIENT_ID, "wrong")), Some(("other", CLIENT_SECRET))] {
        let answer = cloud.login(basic, &FORM).await;
        assert_eq!(answer, (StatusCode::UNAUTHORIZED, refused.clone()), "{basic:?}");
    }
}

#[tokio::test]
async fn other_grants_are_refused() {
    let cloud = Cloud::start_closed().await;
    let us = Some((CLIENT_ID, CLIENT_SECRET));
    let (status, answer) = cloud.login(us, &[("grant_type", "password")]).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("unsupported_grant_type")));
    let (status, answer) = cloud.login(us, &[]).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
}

#[tokio::test]
async fn nothing_of_the_api_is_open_without_a_token() {
    let cloud = Cloud::start_closed().await;
    for path in ["/dags/prod", "/runs", "/runs/r1", "/runs/r1/evaluations", "/evaluations", "/evaluations/e1"] {
        let answer = cloud.request(&format!("/api/v1{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{path}");
    }
    let events = cloud.client.post(format!("{}/recorder/v1/events", cloud.base));
    let events = events.header("content-type", "application/x-ndjson").body("");
    assert_eq!(events.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    // Probes need no login.
    cloud.page("/healthz").await;
}

#[tokio::test]
async fn pages_need_the_login_of_the_client() {
    let cloud = Cloud::start_closed().await;
    let get = async |path: &str, login: Option<(&str, &str)>| {
        let request = cloud.client.get(format!("{}{path}", cloud.base));
        let request = match login {
            Some((id, secret)) => request.basic_auth(id, Some(secret)),
            None => request,
        };
        request.send().await.expect("a response")
    };
    let pages = [
        "/",
        "/style.css",
        "/environments/prod",
        "/environments/prod/models/x",
        "/environments/prod/runs/r1",
        "/environments/prod/plans/p1",
        "/projects/default/",
        "/projects/default/environments/prod",
    ];
    for path in pages {
        for login in [None, Some((CLIENT_ID, "wrong")), Some(("", ""))] {
            let response = get(path, login).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {login:?}");
            let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
            assert!(challenge.starts_with("Basic "), "{challenge}");
            assert!(!response.text().await.expect("text").contains("prod"), "{path}");
        }
        let status = get(path, Some((CLIENT_ID, CLIENT_SECRET))).await.status();
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(get("/", Some((CLIENT_ID, CLIENT_SECRET))).await.status(), StatusCode::OK);
    // The API takes tokens only.
    let api = get("/api/v1/runs", Some((CLIENT_ID, CLIENT_SECRET))).await;
    assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.headers()["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_made_up_token_is_refused() {
    let mut cloud = Cloud::start_closed().await;
    for bearer in ["", "x", CLIENT_SECRET] {
        cloud.bearer = Some(bearer.to_owned());
        assert_eq!(cloud.any("/runs").await.0, StatusCode::UNAUTHORIZED, "{bearer}");
    }
}

#[tokio::test]
async fn an_open_server_answers_everybody() {
    let cloud = Cloud::start().await;
    for basic in [None, Some(("any", "body"))] {
        let (status, tokens) = cloud.login(basic, &FORM).await;
        assert_eq!(status, StatusCode::OK);
        assert!(tokens["id_token"].is_string());
    }
}
