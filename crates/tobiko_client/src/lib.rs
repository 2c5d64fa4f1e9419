//! A client of Tobiko Cloud's V1 API, and of every server that speaks it (the local cloud among them).
//!
//! ```no_run
//! use tobiko_client::{Client, ClientConfig, Credentials, RetryConfig, RunsQuery, Timeouts};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientConfig {
//!     base_url: "https://cloud.tobikodata.com/sqlmesh/tobiko/public-demo/".parse()?,
//!     credentials: Credentials::Client { id: "my-client".into(), secret: std::env::var("TCLOUD_CLIENT_SECRET")?.into() },
//!     token_url: "https://cloud.tobikodata.com/auth/token".parse()?,
//!     scope: "tbk:scope:projects".into(),
//!     tcloud_home: std::env::var("TCLOUD_HOME")?.into(),
//!     ca_file: None,
//!     cache_dir: None,
//!     timeouts: Timeouts::default(),
//!     retry: RetryConfig::default(),
//! })?;
//! for run in client.runs(&RunsQuery { environment: Some("prod".into()), ..RunsQuery::default() }).await? {
//!     println!("{} {}", run.run_id, run.status);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it takes care of, so that callers need not:
//! - **Authentication**: a static token, OAuth client credentials, or the login of the `tcloud` tool. The bearer is the `id_token`.
//!   It is refreshed in time and after a 401; processes share it through a file. It goes to no host but the base URL's.
//! - **Transient failures**: time-outs, broken connections, 408, 429 and 5xx are retried within [`RetryConfig`]. After that they are
//!   an [`Error`] whose `is_outage()` is true. So are responses that are not the API's (HTML, malformed JSON) in a client that had good
//!   ones; in one that had none, they blame the base URL after the retries. A 401 is retried with new tokens. Other failures are
//!   permanent and reported at once.
//! - **Odd data**: unknown fields and values, missing ones, times without a zone. An odd record is left out with a warning, and the
//!   rest is kept.
//! - **Long lists**: a list that the service may have cut at its default limit is requested again with a larger one.
//! - **The network**: gzip, certificates of the system and one's own, proxies by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! It is silent but for `tracing`: a warning for each retry and for odd data, requests at debug level. No secret is in a log line,
//! in an error or in `Debug` output. What the responses mean for a task is not decided here, and the project's own environment
//! variables (`TCLOUD_*`) are read by the caller; errors only name them.

// What callers see.
mod client;
mod config;
mod error;
mod query;

// How a call is made.
mod auth;
mod connection;
mod http;
mod urls;

pub use client::Client;
pub use config::{ClientConfig, Credentials, RetryConfig, TCLOUD_TOOL_CLIENT_ID, Timeouts};
pub use error::Error;
pub use query::{EvaluationsQuery, PlansQuery, RunsQuery, Sort};
pub use tobiko_api::{
    AuditEvaluation, Dag, DagAudit, DagNode, Evaluation, Info, NodeType, Plan, Project, Run, Secret, SourceType, Status,
};
