//! A Tobiko Cloud of one's own: the V1 API over SQLite, fed by the recorder inside the user's SQLMesh process.
//!
//! [`serve`] takes a listener, [`Settings`] and a shutdown future, and serves until that future resolves:
//!
//! | path | what | for whom |
//! |---|---|---|
//! | `/api/v1/...` | DAGs, runs, plans, evaluations | clients; bearer, if [`Settings::client`] is set |
//! | `/recorder/v1/events` | receives events as JSON lines | the recorder; bearer, if [`Settings::client`] is set |
//! | `/auth/token` | OAuth client credentials | clients and the recorder |
//! | `/`, `/environments/...` | the pages that the links lead to | people; HTTP Basic, if [`Settings::client`] is set |
//! | `/projects/{name}/...` | all of this for one of several projects | |
//! | `/healthz` | 200 when the database answers | probes |
//!
//! It fails runs without a heartbeat and starts nothing: SQLMesh runs elsewhere. It speaks plain HTTP: on which address to
//! listen, and whether without a login, is the caller's decision.
//!
//! Modules, in reading order; none imports one above it:
mod server; // runs it on a listener

mod handle; // a local cloud without its listener
mod router; // all routes in one

mod pages; // HTML

mod auth; // OAuth client credentials and bearer tokens

mod api; // the endpoints

mod projects; // which project a request is about

mod heartbeat; // fails runs whose process has died
mod ingest; // the recorder's events -> rows
mod links; // the URLs of the pages
mod store; // the database: tables as types, and their queries

mod settings; // configuration
mod text; // long texts, truncated
mod timestamp; // points in time: on the wire, in the database, on a page

pub use handle::{DatabaseError, LocalCloud};
pub use projects::below_project;
pub use router::base_url;
pub use server::{end, serve, serve_opened, shutdown_requested};
pub use settings::{Secret, Settings};
pub use store::{SourceType, Status};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open the database {path}")]
    Database { path: std::path::PathBuf, source: rusqlite::Error },
    #[error("use {path}: it is a SQLite database of another application")]
    ForeignDatabase { path: std::path::PathBuf },
    #[error("create the database {path}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("bring the database {path} up to date (a newer version may have written it)")]
    Migration { path: std::path::PathBuf, source: rusqlite_migration::Error },
    #[error("listen")]
    Listen(#[from] std::io::Error),
}
