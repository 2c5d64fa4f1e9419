//! What the caller says once, at start. Reading flags and environment variables is left to the executable.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// How the local cloud behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file; it and its folder are created when they are missing.
    pub database: PathBuf,
    /// Where people and clients reach the server, if not at the listener's own address. All links begin with it.
    pub public_url: Option<Url>,
    /// The one OAuth client that is let in. `None`: the API is open, and the token endpoint answers everybody.
    pub client: Option<(String, Secret)>,
    /// For how long a run or plan may be silent before it counts as dead.
    pub stale_after: Duration,
}

/// A text that `Debug` does not show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
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
