//! What the caller configures once, at start. Reading flags and environment variables is left to the executable.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use tobiko_api::Secret;

/// How the local cloud behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file; it and its folder are created when they are missing.
    pub database: PathBuf,
    /// Where people and clients reach the server, if not at the listener's own address. All links begin with it.
    pub public_url: Option<Url>,
    /// The one OAuth client that is accepted. `None`: API and pages are open, and the token endpoint answers
    /// everybody.
    pub client: Option<(String, Secret)>,
    /// A run or plan without a heartbeat for so long has failed.
    pub stale_after: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        let settings = Settings {
            database: "x.db".into(),
            public_url: None,
            client: Some(("me".to_owned(), Secret::from("hush-hush".to_owned()))),
            stale_after: Duration::from_secs(60),
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");
    }
}
