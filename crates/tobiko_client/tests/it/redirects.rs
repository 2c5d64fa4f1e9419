//! Redirects are followed; the bearer goes to no other host or port.
use tobiko_client::RunsQuery;

use crate::cloud::{Cloud, Seen, html, json, redirect, status};

const RUNS: &str = r#"[{"run_id": "r1"}]"#;

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_with_the_bearer() {
    for code in [301, 302, 303, 307, 308] {
        let cloud = Cloud::start(move |seen: &Seen| match seen.path.as_str() {
            "/sqlmesh/demo/api/v1/runs" => redirect(code, "/sqlmesh/demo/api/v1/runs/?limit=5"),
            _ => json(RUNS),
        })
        .await;
        let query = RunsQuery { limit: Some(5), ..RunsQuery::default() };
        assert_eq!(cloud.client().runs(&query).await.unwrap()[0].run_id, "r1");
        let last = cloud.asked("/sqlmesh/demo/api/v1/runs/").pop().unwrap();
        assert_eq!((last.authorization.as_str(), last.query.as_str()), ("Bearer static-token", "limit=5"));
    }
}

/// Both run on 127.0.0.1: they differ by the port, which makes another origin.
#[tokio::test]
async fn no_bearer_follows_to_another_origin_not_even_on_its_own_redirects() {
    let other = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        "/first" => redirect(302, "/second"),
        _ => json(RUNS),
    })
    .await;
    let to = format!("{}/first", other.origin);
    let cloud = Cloud::start(move |_| redirect(307, to.clone())).await;
    assert_eq!(cloud.client().runs(&RunsQuery::default()).await.unwrap()[0].run_id, "r1");
    let seen = other.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(request.authorization, "", "{request:?}");
        assert!(!format!("{request:?}").contains("static-token"), "{request:?}");
    }
}

#[tokio::test]
async fn another_origin_that_wants_a_bearer_means_a_wrong_base_url() {
    let other = Cloud::start(|_| status(401, r#"{"detail": "who are you"}"#)).await;
    let to = format!("{}/login", other.origin);
    let cloud = Cloud::start(move |_| redirect(302, to.clone())).await;
    let error = cloud.client().runs(&RunsQuery::default()).await.unwrap_err();
    let expected =
        format!("redirects to {}/login, which gets no credentials and answers 401: set TCLOUD_BASE_URL", other.origin);
    assert!(error.to_string().contains(&expected), "{error}");
    assert_eq!(cloud.seen().len(), 2, "it may be a log-in page for the time being");
}

#[tokio::test]
async fn a_login_page_behind_a_redirect_is_named() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        "/login" => html(200, "<html><title>Sign in</title></html>"),
        _ => redirect(302, "/login"),
    })
    .await;
    let error = cloud.client().runs(&RunsQuery::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}/login answers an HTML page, \"Sign in\" instead of JSON: check TCLOUD_BASE_URL", cloud.origin)
    );
}

#[tokio::test]
async fn circles_end_after_ten_redirects() {
    let cloud = Cloud::start(|seen: &Seen| redirect(302, seen.path.clone())).await;
    let error = cloud.client().run("r1").await.unwrap_err();
    assert!(error.to_string().ends_with("/runs/r1 redirects in circles: check TCLOUD_BASE_URL"), "{error}");
    assert_eq!(cloud.seen().len(), 2 * 11);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_reported() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.rsplit('/').next() {
        Some("r1") => status(302, ""),
        _ => redirect(302, "ftp://elsewhere/x"),
    })
    .await;
    let error = cloud.client().run("r1").await.unwrap_err();
    assert!(error.to_string().contains("answers 302 without a location"), "{error}");
    let error = cloud.client().run("r2").await.unwrap_err();
    assert!(error.to_string().contains("redirects to ftp://elsewhere/x, which is not https"), "{error}");
}
