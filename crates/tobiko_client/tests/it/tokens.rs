//! Client credentials: what is asked of the token endpoint, what the API gets, and the token that processes share.
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tobiko_client::{Client, ClientConfig, Credentials, Error, RunsQuery};

use crate::cloud::{Cloud, Reply, Seen, granted, html, json, redirect, status};

const TOKEN: &str = "/auth/token";
const RUNS: &str = "/sqlmesh/demo/api/v1/runs";

/// Grants id-1, id-2, ... and takes any bearer.
fn grants(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        TOKEN => granted(&format!("id-{}", seen.before + 1), 3600),
        _ => json("[]"),
    }
}

fn bearers(cloud: &Cloud) -> Vec<String> {
    cloud.asked(RUNS).into_iter().map(|seen| seen.authorization).collect()
}

async fn ask(client: &Client) -> Result<usize, Error> {
    Ok(client.runs(&RunsQuery::default()).await?.len())
}

#[tokio::test]
async fn the_id_token_is_the_bearer_and_is_fetched_once() {
    let cloud = Cloud::start(grants).await;
    let client = Client::new(cloud.oauth_settings("s3cret: ü+")).unwrap();
    for _ in 0..3 {
        ask(&client).await.unwrap();
    }
    assert_eq!(bearers(&cloud), ["Bearer id-1", "Bearer id-1", "Bearer id-1"]);
    let [asked] = &cloud.asked(TOKEN)[..] else { panic!() };
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.body, "grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects");
    // Both are form-encoded before they are joined (RFC 6749, 2.3.1): the-client:s3cret%3A+%C3%BC%2B
    assert_eq!(asked.authorization, "Basic dGhlLWNsaWVudDpzM2NyZXQlM0ErJUMzJUJDJTJC");
    assert_eq!(client.requests(), 3, "requests for tokens are not counted");
}

#[tokio::test]
async fn a_401_gets_one_new_token() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => grants(seen),
        _ if seen.authorization == "Bearer id-2" => json("[]"),
        _ => status(401, ""),
    })
    .await;
    let client = Client::new(cloud.oauth_settings("s3cret")).unwrap();
    assert_eq!(ask(&client).await, Ok(0));
    assert_eq!(bearers(&cloud), ["Bearer id-1", "Bearer id-2"]);
    assert_eq!(ask(&client).await, Ok(0));
    assert_eq!(cloud.asked(TOKEN).len(), 2);
}

#[tokio::test]
async fn a_401_with_new_tokens_ends_the_call_after_all_tries() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => grants(seen),
        _ => status(401, format!(r#"{{"detail": "{} is unknown"}}"#, seen.authorization)),
    })
    .await;
    let client = Client::new(cloud.oauth_settings("s3cret")).unwrap();
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "{}{RUNS} rejected the token, even after a refresh (401: Bearer *** is unknown): check TCLOUD_BASE_URL, TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET",
            cloud.origin
        )
    );
    assert!(!error.is_outage());
    // Each try begins with the token that the last one ended with.
    assert_eq!((cloud.asked(TOKEN).len(), cloud.asked(RUNS).len()), (6, 10));
}

#[tokio::test]
async fn a_new_token_may_take_a_moment_to_be_known() {
    // Tokens are revoked for a while, new ones too; or a new one is known only after some requests.
    for known_after in [3, 4, 7] {
        let cloud = Cloud::start(move |seen: &Seen| match seen.path.as_str() {
            TOKEN => grants(seen),
            _ if seen.before < known_after => status(401, ""),
            _ => json("[]"),
        })
        .await;
        let client = Client::new(cloud.oauth_settings("s3cret")).unwrap();
        assert_eq!(ask(&client).await, Ok(0));
        assert_eq!(client.requests(), known_after as u64 + 1);
    }
}

#[tokio::test]
async fn a_static_token_that_is_refused_is_not_repeated() {
    let cloud = Cloud::start(|_| status(401, r#"{"detail": "expired"}"#)).await;
    let error = ask(&cloud.client()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert!(
        error.to_string().ends_with("rejected the API token (401: expired): check TCLOUD_TOKEN and TCLOUD_BASE_URL"),
        "{error}"
    );
    assert_eq!(cloud.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_reported_at_once() {
    for code in [400, 401] {
        let cloud = Cloud::start(move |_| {
            status(code, r#"{"error": "invalid_client", "error_description": "s3cret-wrong does not match"}"#)
        })
        .await;
        let error = ask(&Client::new(cloud.oauth_settings("s3cret-wrong")).unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!(
                "{}{TOKEN} rejected the login ({code}: invalid_client, *** does not match): check TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET",
                cloud.origin
            )
        );
        assert_eq!(cloud.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_for_a_while_is_asked_again() {
    let cloud = Cloud::start(|seen: &Seen| match (seen.path.as_str(), seen.before) {
        (TOKEN, 0) => html(503, "<html>"),
        (TOKEN, 1) => status(429, ""),
        (TOKEN, 2) => status(500, r#"{"error": "server_error"}"#),
        _ => grants(seen),
    })
    .await;
    let client = Client::new(cloud.oauth_settings("s3cret")).unwrap();
    assert_eq!(ask(&client).await, Ok(0));
    assert_eq!(bearers(&cloud), ["Bearer id-4"]);
}

#[tokio::test]
async fn a_token_endpoint_that_stays_away_is_an_outage() {
    let cloud = Cloud::start(|_| html(502, "")).await;
    let error = ask(&Client::new(cloud.oauth_settings("s3cret")).unwrap()).await.unwrap_err();
    assert!(error.is_outage(), "{error}");
    assert!(
        error.to_string().starts_with(&format!("{}{TOKEN} is not available: it answered 502", cloud.origin)),
        "{error}"
    );
    assert_eq!(cloud.asked(TOKEN).len(), 5);
}

#[tokio::test]
async fn what_is_no_token_endpoint_is_reported() {
    type Answer = fn() -> Reply;
    let cases: [(Answer, &str); 5] = [
        (|| html(404, "<html>"), "does not answer as a token endpoint (404: an HTML page): check TCLOUD_TOKEN_URL"),
        (|| html(200, "<html>"), "does not answer as a token endpoint (200: an HTML page)"),
        (|| redirect(307, "http://127.0.0.1:1/steal"), "does not answer as a token endpoint (307: nothing)"),
        (
            || json(r#"{"id_token": "x"}"#),
            "grants no token that can be used (missing field `access_token`): check TCLOUD_TOKEN_URL",
        ),
        (|| json(r#"{"access_token": "leak-me", "token_type": "Bearer"}"#), "(its response has no id_token)"),
    ];
    for (reply, expected) in cases {
        let cloud = Cloud::start(move |_| reply()).await;
        let error = ask(&Client::new(cloud.oauth_settings("s3cret")).unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }) && error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("leak-me"));
        assert_eq!(cloud.seen().len(), 2, "a proxy's page passes");
    }
}

#[tokio::test]
async fn an_expiring_token_is_refreshed_before_it_expires() {
    let cloud = Cloud::start(|seen: &Seen| match seen.path.as_str() {
        TOKEN => granted(&format!("id-{}", seen.before + 1), 0),
        _ => json("[]"),
    })
    .await;
    let client = Client::new(cloud.oauth_settings("s3cret")).unwrap();
    ask(&client).await.unwrap();
    ask(&client).await.unwrap();
    assert_eq!(bearers(&cloud), ["Bearer id-1", "Bearer id-2"]);
}

#[tokio::test]
async fn processes_share_a_token_by_the_cache_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(grants).await;
    let settings = ClientConfig { cache_dir: Some(folder.path().join("cache")), ..cloud.oauth_settings("s3cret") };
    ask(&Client::new(settings.clone()).unwrap()).await.unwrap();
    ask(&Client::new(settings.clone()).unwrap()).await.unwrap();
    assert_eq!(bearers(&cloud), ["Bearer id-1", "Bearer id-1"]);

    // Another client, and the same one with another secret, get tokens of their own.
    let other = Credentials::Client { id: "another".into(), secret: "s3cret".into() };
    ask(&Client::new(ClientConfig { credentials: other, ..settings.clone() }).unwrap()).await.unwrap();
    let wrong = Credentials::Client { id: "the-client".into(), secret: "wrong".into() };
    ask(&Client::new(ClientConfig { credentials: wrong, ..settings.clone() }).unwrap()).await.unwrap();
    assert_eq!(bearers(&cloud)[2..], ["Bearer id-2", "Bearer id-3"]);
    ask(&Client::new(ClientConfig { scope: "other".into(), ..settings }).unwrap()).await.unwrap();
    assert_eq!(bearers(&cloud)[4..], ["Bearer id-4"]);
}

#[tokio::test]
async fn a_corrupt_cache_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(grants).await;
    let settings = ClientConfig { cache_dir: Some(folder.path().into()), ..cloud.oauth_settings("s3cret") };
    ask(&Client::new(settings.clone()).unwrap()).await.unwrap();
    let json_file =
        |entry: fs::DirEntry| Some(entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    let file = fs::read_dir(folder.path()).unwrap().find_map(|entry| json_file(entry.unwrap())).unwrap();
    fs::write(&file, "{\"version\": 1, \"id_token\": \"half").unwrap();
    ask(&Client::new(settings.clone()).unwrap()).await.unwrap();
    ask(&Client::new(settings).unwrap()).await.unwrap();
    assert_eq!(bearers(&cloud), ["Bearer id-1", "Bearer id-2", "Bearer id-2"]);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_done_without() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let cloud = Cloud::start(grants).await;
    let settings = ClientConfig { cache_dir: Some(file.path().join("below-a-file")), ..cloud.oauth_settings("s3cret") };
    assert_eq!(ask(&Client::new(settings).unwrap()).await, Ok(0));
}

#[tokio::test]
async fn a_revoked_token_in_the_cache_is_replaced_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let revoked = Arc::new(AtomicBool::new(false));
    let script = {
        let revoked = revoked.clone();
        move |seen: &Seen| match seen.path.as_str() {
            TOKEN => grants(seen),
            _ if seen.authorization == "Bearer id-1" && revoked.load(Ordering::SeqCst) => status(401, ""),
            _ => json("[]"),
        }
    };
    let cloud = Cloud::start(script).await;
    let settings = ClientConfig { cache_dir: Some(folder.path().into()), ..cloud.oauth_settings("s3cret") };
    let (one, two) = (Client::new(settings.clone()).unwrap(), Client::new(settings.clone()).unwrap());
    ask(&one).await.unwrap();
    ask(&two).await.unwrap();
    revoked.store(true, Ordering::SeqCst);
    ask(&one).await.unwrap();
    ask(&two).await.unwrap();
    ask(&Client::new(settings).unwrap()).await.unwrap();
    assert_eq!(cloud.asked(TOKEN).len(), 2, "one at first, one for the revoked token");
}

/// Twenty processes take the same lock on the same file; twenty clients do so too, each by a file handle of its own. All of them
/// are there before the first token is granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_fetch_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let slowly = |seen: &Seen| match seen.path.as_str() {
        TOKEN => Reply { delay: Duration::from_millis(500), ..grants(seen) },
        _ => grants(seen),
    };
    let cloud = Cloud::start(slowly).await;
    let settings = ClientConfig { cache_dir: Some(folder.path().into()), ..cloud.oauth_settings("s3cret") };
    let clients: Vec<Client> = (0..20).map(|_| Client::new(settings.clone()).unwrap()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        tasks.spawn(async move { ask(&client).await });
    }
    assert!(tasks.join_all().await.iter().all(|answer| *answer == Ok(0)));
    assert_eq!(cloud.asked(TOKEN).len(), 1);
    assert_eq!(bearers(&cloud), vec!["Bearer id-1"; 20]);
}
