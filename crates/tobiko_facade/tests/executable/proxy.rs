//! Where credentials go: a proxy sees every connection that the executable makes, and answers in the place of the servers.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::{run, stderr};

/// A name that no name server knows: only by the proxy is it reached.
const BASE_URL: &str = "http://cloud.example.test:8000/projects/a";

/// What a request line asks the proxy for (`POST http://host/path`, `CONNECT host:443`), and its credentials.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A proxy whose `script` gives the status line with further headers, and the body. Gives its URL.
async fn proxy(script: fn(&str) -> (&'static str, &'static str)) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_request(&mut stream).await else { continue };
            let target = request.lines().next().unwrap_or_default().rsplit_once(' ').unwrap_or_default().0.to_owned();
            let header = |line: &&str| line.to_ascii_lowercase().starts_with("authorization:");
            let authorization = request.lines().find(header).unwrap_or_default().to_owned();
            let (head, body) = script(&target);
            kept.lock().unwrap().push((target, authorization));
            let answer =
                format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            // Whoever is gone by now has what it wanted.
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (url, seen)
}

/// The head, and as much of the body as its length says.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// `definitions` with the credentials of one's own server, all connections by the proxy.
async fn definitions(proxy: &str, credentials: &[(&str, &str)]) -> std::process::Output {
    let variables = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut environment: Vec<(&str, &str)> = variables.map(|variable| (variable, proxy)).to_vec();
    let home = tempfile::tempdir().unwrap();
    environment.extend([
        ("TCLOUD_BASE_URL", BASE_URL),
        ("HOME", home.path().to_str().unwrap()),
        ("TOBIKO_FACADE_CALL_LIMIT_S", "4"),
    ]);
    environment.extend(credentials);
    run(&["definitions"], &environment).await
}

const OWN: [(&str, &str); 2] = [("TCLOUD_CLIENT_ID", "dagster"), ("TCLOUD_CLIENT_SECRET", "of-our-own-server")];
const TOKEN: &str = r#"{"access_token": "a", "id_token": "the-bearer", "token_type": "Bearer", "expires_in": 3600}"#;
const DAG: &str =
    r#"{"environment": "prod", "nodes": [{"name": "a", "model_name": "a", "source_type": "sql", "type": "model"}]}"#;

fn targets(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect()
}

#[tokio::test]
async fn credentials_of_ones_own_server_go_to_no_other_host() {
    let (proxy, seen) = proxy(|target| match target {
        "POST http://cloud.example.test:8000/projects/a/auth/token" => ("200 OK", TOKEN),
        target if target.starts_with("GET http://cloud.example.test:8000/projects/a/api/v1/dags/") => ("200 OK", DAG),
        _ => ("404 Not Found", r#"{"detail": "Not Found"}"#),
    })
    .await;
    for credentials in [&OWN[..], &[]] {
        let output = definitions(&proxy, credentials).await;
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let targets = targets(&seen);
    assert!(targets.len() >= 4, "{targets:?}");
    for target in targets {
        assert_eq!(target.split('/').nth(2), Some("cloud.example.test:8000"), "{target}");
    }
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let (proxy, seen) = proxy(|target| match target {
        "POST http://cloud.example.test:8000/projects/a/auth/token" => ("200 OK", TOKEN),
        target if target.starts_with("GET http://cloud.example.test:8000/") => {
            ("307 Temporary Redirect\r\nlocation: http://elsewhere.example.test/x", "")
        }
        _ => ("401 Unauthorized", ""),
    })
    .await;
    let output = definitions(&proxy, &OWN).await;
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let seen = seen.lock().unwrap().clone();
    assert!(seen.iter().any(|(target, _)| target == "GET http://elsewhere.example.test/x"), "{seen:?}");
    for (target, authorization) in seen {
        let is_own = target.split('/').nth(2) == Some("cloud.example.test:8000");
        assert_eq!(!authorization.is_empty(), is_own, "{target}: {authorization}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_redirects_gets_nothing_sent_elsewhere_and_the_error_names_its_variable() {
    let (proxy, seen) = proxy(|target| match target {
        "POST http://cloud.example.test:8000/projects/a/auth/token" => {
            ("307 Temporary Redirect\r\nlocation: http://elsewhere.example.test/token", "")
        }
        _ => ("200 OK", TOKEN),
    })
    .await;
    let output = definitions(&proxy, &OWN).await;
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("TCLOUD_TOKEN_URL"), "{}", stderr(&output));
    for target in targets(&seen) {
        assert_eq!(target, "POST http://cloud.example.test:8000/projects/a/auth/token");
    }
}
