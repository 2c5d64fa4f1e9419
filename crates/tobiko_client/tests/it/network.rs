//! Certificates of one's own, and proxies from the environment.
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use tobiko_client::{Client, ClientConfig, Error, RunsQuery};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::cloud::{Cloud, Seen, json, settings};

/// An HTTPS server with a certificate that nobody knows, which answers `answer` to everything. Gives its origin and the PEM.
async fn https(answer: String) -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust the certificate goes away in the middle of it.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (origin, certified.cert.pem())
}

fn ca_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_by_the_ca_file_only() {
    let body = r#"[{"run_id": "r1"}]"#;
    let (origin, pem) =
        https(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())).await;
    let untrusting = Client::new(settings(&origin)).unwrap();
    let error = untrusting.runs(&RunsQuery::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("its certificate is not trusted") && error.to_string().contains("TCLOUD_CA_FILE"),
        "{error}"
    );
    assert_eq!(untrusting.requests(), 1, "it would be no better the next time");

    let file = ca_file(&pem);
    let trusting = Client::new(ClientConfig { ca_file: Some(file.path().into()), ..settings(&origin) }).unwrap();
    assert_eq!(trusting.runs(&RunsQuery::default()).await.unwrap()[0].run_id, "r1");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let plain = Cloud::start(|_| json("[]")).await;
    let to =
        format!("HTTP/1.1 302 Found\r\nlocation: {}/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", plain.origin);
    let (origin, pem) = https(to).await;
    let file = ca_file(&pem);
    let client = Client::new(ClientConfig { ca_file: Some(file.path().into()), ..settings(&origin) }).unwrap();
    let error = client.runs(&RunsQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("redirects to {}/x, which is not https", plain.origin)), "{error}");
    assert_eq!(plain.seen().len(), 0);
}

#[test]
fn a_bad_ca_file_is_named() {
    fn check(ca_file: &std::path::Path, expected: &str) {
        let error = Client::new(ClientConfig { ca_file: Some(ca_file.into()), ..settings("http://h") }).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("TCLOUD_CA_FILE {} {expected}", ca_file.display())), "{text}");
    }
    check(std::path::Path::new("/no/such/file.pem"), "cannot be read as PEM certificates");
    check(ca_file("no certificate").path(), "holds no PEM certificate");
    check(
        ca_file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").path(),
        "holds a certificate that cannot be used",
    );
}

/// Proxies are read from the environment, which is the process's: so the calls are made in one of their own.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_unless_no_proxy_says_otherwise() {
    let proxy = Cloud::start(|seen: &Seen| match seen.headers.iter().find(|(name, _)| name == "host") {
        Some((_, host)) if host == "cloud.example.test" => json(r#"[{"run_id": "by proxy"}]"#),
        _ => json(r#"[{"run_id": "odd host"}]"#),
    })
    .await;
    let direct = Cloud::start(|_| json(r#"[{"run_id": "direct"}]"#)).await;
    let found = |base_url: String| {
        let proxy = proxy.origin.clone();
        tokio::task::spawn_blocking(move || {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "network::one_call_for_the_test_of_proxies", "--ignored", "--nocapture"])
                .env("HTTP_PROXY", &proxy)
                .env("http_proxy", &proxy)
                .env("NO_PROXY", "127.0.0.1")
                .env("no_proxy", "127.0.0.1")
                .env("TEST_BASE_URL", base_url)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    };
    let text = found("http://cloud.example.test/x".to_owned()).await.unwrap();
    assert!(text.contains("found: by proxy"), "{text}");
    assert_eq!(proxy.seen()[0].authorization, "Bearer static-token");
    let text = found(direct.origin.clone()).await.unwrap();
    assert!(text.contains("found: direct"), "{text}");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
#[ignore = "started by the test of proxies, in an environment with one"]
#[expect(clippy::print_stdout, reason = "read by the test that started it")]
async fn one_call_for_the_test_of_proxies() {
    let client = Client::new(settings(&std::env::var("TEST_BASE_URL").unwrap())).unwrap();
    println!("found: {}", client.runs(&RunsQuery::default()).await.unwrap()[0].run_id);
}
