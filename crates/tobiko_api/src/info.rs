//! What a local cloud says of itself. Tobiko Cloud has no such call.
use serde::{Deserialize, Serialize};

use crate::lenient;
use crate::records::Record;

/// The server, and the projects that it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    #[serde(deserialize_with = "lenient::text")]
    pub version: String,
    /// The project that this base URL serves; `None`: the server holds several, and this is the base URL of none of them.
    #[serde(deserialize_with = "lenient::null_or_text")]
    pub project: Option<String>,
    #[serde(deserialize_with = "lenient::nested")]
    pub projects: Vec<Project>,
}

/// One project of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Empty for the nameless one.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    #[serde(deserialize_with = "lenient::text")]
    pub base_url: String,
}

impl Record for Info {
    const KIND: &'static str = "a server's description of itself";
    fn is_named(&self) -> bool {
        !self.version.is_empty()
    }
}

impl Record for Project {
    const KIND: &'static str = "a project";
    fn is_named(&self) -> bool {
        !self.base_url.is_empty()
    }
}
