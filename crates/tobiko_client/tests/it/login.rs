//! The login of the `tcloud` tool: `auth.yaml`, which stays the tool's as much as ours.
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_norway::Value;
use tobiko_client::{Client, ClientConfig, Credentials, Error, RunsQuery, TCLOUD_TOOL_CLIENT_ID};

use crate::cloud::{Cloud, Seen, granted, json, status};

const TOKEN: &str = "/auth/token";

fn in_seconds(seconds: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + seconds
}

fn auth_yaml(expires_at: i64, refresh_token: &str) -> String {
    format!(
        "scope: tbk:scope:projects\ntoken_type: Bearer\nexpires_at: {expires_at}\naccess_token: access-old\nid_token: id-old\n{refresh_token}the_tools_own:\n- 1\n"
    )
}

fn settings(cloud: &Cloud, home: &Path) -> ClientConfig {
    let credentials = Credentials::Login { client_id: TCLOUD_TOOL_CLIENT_ID.into() };
    ClientConfig { credentials, tcloud_home: home.to_owned(), ..cloud.settings() }
}

async fn ask(settings: ClientConfig) -> Result<usize, Error> {
    Ok(Client::new(settings).unwrap().runs(&RunsQuery::default()).await?.len())
}

#[tokio::test]
async fn a_login_that_lives_is_used_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let text = auth_yaml(in_seconds(3600), "");
    fs::write(home.path().join("auth.yaml"), &text).unwrap();
    let cloud = Cloud::start(|_| json("[]")).await;
    assert_eq!(ask(settings(&cloud, home.path())).await, Ok(0));
    assert_eq!(cloud.seen()[0].authorization, "Bearer id-old");
    assert_eq!(cloud.asked(TOKEN).len(), 0);
    assert_eq!(fs::read_to_string(home.path().join("auth.yaml")).unwrap(), text);
}

#[tokio::test]
async fn a_login_that_ends_is_refreshed_and_written_back() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.yaml");
    fs::write(&file, auth_yaml(in_seconds(200), "refresh_token: refresh-old\n")).unwrap();
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => granted("id-new", 3600),
        _ => json("[]"),
    })
    .await;
    assert_eq!(ask(settings(&cloud, home.path())).await, Ok(0));
    assert_eq!(ask(settings(&cloud, home.path())).await, Ok(0));
    let [asked] = &cloud.asked(TOKEN)[..] else { panic!("one refresh serves both") };
    let form = "grant_type=refresh_token&refresh_token=refresh-old&scope=tbk%3Ascope%3Aprojects&client_id=";
    assert_eq!(asked.body, format!("{form}{TCLOUD_TOOL_CLIENT_ID}"));
    assert_eq!(asked.authorization, "", "a public client shows no secret");
    assert!(cloud.seen().iter().filter(|seen| seen.path != TOKEN).all(|seen| seen.authorization == "Bearer id-new"));

    let written: Value = serde_norway::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written["id_token"], "id-new");
    assert_eq!(written["access_token"], "access-id-new");
    assert_eq!(written["token_type"], "Bearer");
    assert_eq!(written["scope"], "tbk:scope:projects");
    assert_eq!(written["refresh_token"], "refresh-old", "the response has none, so the old one stays valid");
    assert_eq!(written["the_tools_own"][0], 1);
    assert!((written["expires_at"].as_i64().unwrap() - in_seconds(3600)).abs() < 60);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_new_refresh_token_replaces_the_old_one() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("auth.yaml"), auth_yaml(0, "refresh_token: refresh-old\n")).unwrap();
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => json(
            r#"{"access_token": "a", "id_token": "id-new", "token_type": "bearer", "expires_in": 3600, "refresh_token": "refresh-new"}"#,
        ),
        _ => json("[]"),
    })
    .await;
    assert_eq!(ask(settings(&cloud, home.path())).await, Ok(0));
    let text = fs::read_to_string(home.path().join("auth.yaml")).unwrap();
    assert!(text.contains("refresh_token: refresh-new") && text.contains("token_type: Bearer"), "{text}");
    assert!(text.contains("scope: tbk:scope:projects"), "{text}");
}

#[tokio::test]
async fn a_login_that_the_api_refuses_is_refreshed_once() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("auth.yaml"), auth_yaml(in_seconds(3600), "refresh_token: refresh-old\n")).unwrap();
    let cloud = Cloud::start(|seen: &Seen| match (seen.path.as_str(), seen.authorization.as_str()) {
        (TOKEN, _) => granted("id-new", 3600),
        (_, "Bearer id-new") => json("[]"),
        _ => status(401, ""),
    })
    .await;
    assert_eq!(ask(settings(&cloud, home.path())).await, Ok(0));
    assert_eq!(cloud.asked(TOKEN).len(), 1);
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_does_not_stop_a_login_that_still_lives() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("auth.yaml"), auth_yaml(in_seconds(200), "refresh_token: refresh-old\n")).unwrap();
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => status(503, ""),
        _ => json("[]"),
    })
    .await;
    let client = Client::new(settings(&cloud, home.path())).unwrap();
    client.runs(&RunsQuery::default()).await.unwrap();
    client.runs(&RunsQuery::default()).await.unwrap();
    assert_eq!(cloud.asked(TOKEN).len(), 1);
}

#[tokio::test]
async fn without_a_login_the_error_says_what_to_do() {
    async fn check(auth_yaml: Option<&str>, expected: &str) {
        let home = tempfile::tempdir().unwrap();
        if let Some(text) = auth_yaml {
            fs::write(home.path().join("auth.yaml"), text).unwrap();
        }
        let cloud =
            Cloud::start(|_| status(400, r#"{"error": "invalid_grant", "error_description": "refresh-old is gone"}"#))
                .await;
        let error = ask(settings(&cloud, home.path())).await.unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("TCLOUD_CLIENT_SECRET"), "{text}");
        for secret in ["refresh-old", "id-old", "access-old"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    check(None, "needs a login, but there is no").await;
    check(Some("id-old: [unclosed"), "is no YAML mapping").await;
    check(Some(""), "has expired or was rejected").await;
    check(Some(&auth_yaml(0, "")), "has expired or was rejected").await;
    check(
        Some(&auth_yaml(0, "refresh_token: refresh-old\n")),
        "rejected the login (400: invalid_grant, *** is gone): log in again",
    )
    .await;
}
