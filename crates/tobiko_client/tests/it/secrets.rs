//! No secret in `Debug` output, errors or logs.
use std::io;
use std::sync::{Arc, Mutex};

use tobiko_client::{Client, ClientConfig, Credentials, RunsQuery, Secret};
use tracing_subscriber::fmt::MakeWriter;

use crate::cloud::{Cloud, Seen, granted, json, status};

#[test]
fn debug_output_shows_no_secret() {
    let secret = Secret::from("s3cret");
    assert_eq!(format!("{secret:?} {secret}"), "*** ***");
    assert_eq!(secret.expose(), "s3cret");
    for credentials in [
        Credentials::Token("s3cret".into()),
        Credentials::Client { id: "the-client".into(), secret: "s3cret".into() },
        Credentials::Login { client_id: "the-client".into() },
    ] {
        let settings = ClientConfig { credentials, ..crate::cloud::settings("http://127.0.0.1:1/x") };
        let client = Client::new(settings.clone()).unwrap();
        for text in [format!("{settings:?}"), format!("{settings:#?}"), format!("{client:?}")] {
            assert!(!text.contains("s3cret"), "{text}");
            assert!(text.contains("http://127.0.0.1:1/x"), "{text}");
        }
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_shown() {
    let settings = crate::cloud::settings("http://me:s3cret@127.0.0.1:1/x?key=s3cret");
    assert!(!format!("{settings:?}").contains("s3cret"));
    let error = Client::new(settings).unwrap_err();
    assert_eq!(error.to_string(), "TCLOUD_BASE_URL must not hold a user name or a password, got http://127.0.0.1:1/x");
    let mut settings = crate::cloud::settings("http://127.0.0.1:1/x");
    settings.credentials = Credentials::Client { id: "x".into(), secret: "y".into() };
    settings.token_url = "ftp://127.0.0.1/token".parse().unwrap();
    let error = Client::new(settings).unwrap_err();
    assert_eq!(error.to_string(), "TCLOUD_TOKEN_URL must be an http:// or https:// URL, got ftp://127.0.0.1/token");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// Everything on, the HTTP libraries' own lines included.
#[tokio::test]
async fn the_most_detailed_log_shows_no_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // For all threads: what the other tests log meanwhile must hold no secret either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(|seen: &Seen| match (seen.path.as_str(), seen.before) {
        ("/auth/token", 0) => status(503, ""),
        ("/auth/token", _) => granted("s3cret-id", 3600),
        (_, 0) => status(500, ""),
        (_, 1) => status(401, format!("{:?}", seen.headers)),
        (_, 2) => json("[]"),
        _ => status(401, format!("{:?}", seen.headers)),
    })
    .await;
    let settings = ClientConfig { cache_dir: Some(folder.path().into()), ..cloud.oauth_settings("s3cret") };
    let client = Client::new(settings).unwrap();
    client.runs(&RunsQuery::default()).await.unwrap();
    let error = client.runs(&RunsQuery::default()).await.unwrap_err();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("GET http://127.0.0.1"), "the log was caught: {text}");
    assert!(text.contains("POST http://127.0.0.1"), "{text}");
    let basic = "dGhlLWNsaWVudDpzM2NyZXQ";
    for text in [text, error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("s3cret") && !text.contains(basic), "{text}");
    }
}
