//! A Tobiko Cloud of one's own: the V1 API over SQLite, fed by the recorder inside the user's SQLMesh process.
//!
//! [`serve`] takes a listener, [`Settings`] and a shutdown future, and answers until that future ends:
//!
//! | path | what | for whom |
//! |---|---|---|
//! | `/api/v1/...` | DAGs, runs, evaluations | clients; bearer, if [`Settings::client`] is set |
//! | `/recorder/v1/events` | takes events as JSON lines | the recorder; bearer, if [`Settings::client`] is set |
//! | `/auth/token` | OAuth client credentials | clients and the recorder |
//! | `/`, `/environments/...` | the pages that the links lead to | people; always open |
//! | `/healthz` | 200 when the database answers | probes |
//!
//! It ends runs whose process has stopped reporting, and starts nothing: SQLMesh runs elsewhere. It speaks plain HTTP,
//! and its pages ask nobody for a password: on which address to listen is the caller's decision.
//!
//! Modules, in reading order:
mod api; // the endpoints
mod event; // what the recorder sends
mod handle; // a local cloud without its listener
mod ingest; // events -> rows
mod links; // the URLs of the pages
mod moment; // points in time: on the wire, in the database, on a page
mod pages; // HTML
mod server; // puts it all behind one listener
mod settings; // what the caller says
mod stale; // ends what has stopped reporting
mod store; // the database: tables as types, and the questions that are asked of it
mod text; // long texts, cut in the middle
mod token; // who may ask

pub use handle::{DatabaseError, LocalCloud};
pub use server::{asked_to_end, base_url, end, serve};
pub use settings::{Secret, Settings};
pub use store::{SourceType, Status};

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open the database {path}")]
    Database { path: std::path::PathBuf, source: rusqlite::Error },
    #[error("create the database {path}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("bring the database {path} up to date (a newer version may have written it)")]
    Migration { path: std::path::PathBuf, source: rusqlite_migration::Error },
    #[error("listen")]
    Listen(#[from] std::io::Error),
}
