//! A scripted cloud: a function answers each request, and what was asked is kept.
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use tobiko_client::{Client, ClientConfig, Credentials, RetryConfig, Timeouts};

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How many requests for the same path there were before.
    pub before: usize,
}

/// An answer of the script.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// So long the server thinks.
    pub delay: Duration,
}

pub fn json(body: impl Into<String>) -> Reply {
    status(200, body)
}

pub fn status(status: u16, body: impl Into<String>) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    reply(status, headers, body.into())
}

pub fn html(status: u16, body: &str) -> Reply {
    reply(status, vec![("content-type", "text/html".to_owned())], body)
}

pub fn redirect(status: u16, location: impl Into<String>) -> Reply {
    reply(status, vec![("location", location.into())], "")
}

pub fn reply(status: u16, headers: Vec<(&'static str, String)>, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers, body: body.into(), delay: Duration::ZERO }
}

/// What the token endpoint grants.
pub fn granted(id_token: &str, expires_in: u32) -> Reply {
    json(format!(
        r#"{{"access_token":"access-{id_token}","id_token":"{id_token}","token_type":"Bearer","scope":"tbk:scope:projects","expires_in":{expires_in}}}"#
    ))
}

/// A running script.
pub struct Cloud {
    pub origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Cloud {
    pub async fn start(script: impl Fn(&Seen) -> Reply + Clone + Send + Sync + 'static) -> Cloud {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let kept = seen.clone();
        let app = Router::new().fallback(async move |request: Request| {
            let (parts, body) = request.into_parts();
            let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let mut asked = Seen {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                authorization: parts.headers.get("authorization").map(text).unwrap_or_default(),
                headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap(),
                before: 0,
            };
            {
                let mut seen = kept.lock().unwrap();
                asked.before = seen.iter().filter(|one| one.path == asked.path).count();
                seen.push(asked.clone());
            }
            let reply = script(&asked);
            tokio::time::sleep(reply.delay).await;
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(reply.body)).unwrap()
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Cloud { origin, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests for a path, in order.
    pub fn asked(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
    }

    /// With a static token, below a path, quick retries.
    pub fn settings(&self) -> ClientConfig {
        settings(&format!("{}/sqlmesh/demo", self.origin))
    }

    pub fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }

    /// With a client id and secret, and this server's token endpoint.
    pub fn oauth_settings(&self, secret: &str) -> ClientConfig {
        let credentials = Credentials::Client { id: "the-client".into(), secret: secret.into() };
        ClientConfig { credentials, ..self.settings() }
    }
}

pub fn settings(base_url: &str) -> ClientConfig {
    let base_url: url::Url = base_url.parse().unwrap();
    ClientConfig {
        token_url: base_url.join("/auth/token").unwrap(),
        base_url,
        credentials: Credentials::Token("static-token".into()),
        scope: "tbk:scope:projects".into(),
        tcloud_home: PathBuf::from("no-such-folder"),
        ca_file: None,
        cache_dir: None,
        timeouts: timeouts(),
        retry: quick(),
    }
}

/// They leave room for a slow machine: nothing waits for them in a good case.
pub fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(10), read: Duration::from_secs(20), request: Duration::from_secs(30) }
}

/// Five tries with short waits.
pub fn quick() -> RetryConfig {
    RetryConfig {
        max_tries: 5,
        init_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(4),
        retry_timeout: Duration::from_secs(60),
    }
}
