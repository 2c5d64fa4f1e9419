//! A client of Tobiko Cloud's V1 API, and of every server that speaks it (the local cloud among them).
//!
//! ```no_run
//! use tobiko_client::{Client, Credentials, Limits, RunsQuery, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Settings {
//!     base_url: "https://cloud.tobikodata.com/sqlmesh/tobiko/public-demo/".parse()?,
//!     credentials: Credentials::Client { id: "my-client".into(), secret: std::env::var("TCLOUD_CLIENT_SECRET")?.into() },
//!     token_url: "https://cloud.tobikodata.com/auth/token".parse()?,
//!     scope: "tbk:scope:projects".into(),
//!     tcloud_home: std::env::var("TCLOUD_HOME")?.into(),
//!     ca_file: None,
//!     cache_dir: None,
//!     limits: Limits::default(),
//! })?;
//! for run in client.runs(&RunsQuery { environment: Some("prod".into()), ..RunsQuery::default() }).await? {
//!     println!("{} {}", run.run_id, run.status);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it takes care of, so that callers need not:
//! - **Who asks**: a static token, OAuth client credentials, or the login of the `tcloud` tool. The bearer is the `id_token`. It
//!   is renewed in time, and once after a 401; processes share it by a file. It goes to no host but the base URL's.
//! - **What passes**: time-outs, broken connections, 408, 429 and 5xx are tried again within [`Limits`]. Then they are an
//!   [`Error`] whose `is_outage()` is true. What lasts is told at once.
//! - **Odd data**: unknown fields and values, missing ones, times without a zone. An odd record is left out with a warning, and the
//!   rest is there.
//! - **Long lists**: a list that the service may have cut at its default limit is asked for again with a larger one.
//! - **The network**: gzip, certificates of the system and of one's own, proxies by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! It is silent but for `tracing`: a warning for each retry and for odd data, requests at debug level. No secret is in a log line,
//! in an error or in `Debug` output. What the answers mean for a task is not decided here, and environment variables of the
//! project's own (`TCLOUD_*`) are read by the caller; errors only name them.

// What callers see.
mod client;
mod query;
mod settings;

// One call: its address, its retries, the exchange, what the answer means.
mod address;
mod answer;
mod retry;
mod transport;

// Who asks.
mod auth;
mod login_file;
mod oauth;
mod private_file;
mod token;
mod token_file;

// Used by all.
mod error;

pub use client::Client;
pub use error::Error;
pub use query::{EvaluationsQuery, PlansQuery, RunsQuery, Sort};
pub use settings::{Credentials, Limits, Settings, TCLOUD_TOOL_CLIENT_ID};
pub use tobiko_api::{
    AuditEvaluation, Dag, DagNode, Evaluation, Info, NodeType, Plan, Project, Run, Secret, SourceType, Status,
};
