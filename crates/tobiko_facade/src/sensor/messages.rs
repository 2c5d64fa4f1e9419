//! What Python and `tobiko-facade tick` say to each other: one JSON object in, one out. Both ends are of one release.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What Dagster knows, as Python gathered it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TickInput {
    /// As Dagster keeps it.
    pub cursor: Option<String>,
    /// What the code location that ticks has loaded.
    pub manifest: LoadedManifest,
    /// The code location's name.
    pub location: Option<String>,
    /// Whether the code location can be reloaded: a webserver is configured.
    pub can_reload: bool,
    /// From one tick to the next, as the sensor was declared.
    pub interval_seconds: u64,
    /// The newest run of the sync job.
    pub sync: Option<DagsterRun>,
    /// The mirrors of the cursor's chain, by remote run; one that is not there was deleted.
    pub mirrors: BTreeMap<String, Option<DagsterRun>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LoadedManifest {
    /// Whether the environment existed when the code location was loaded.
    pub exists: bool,
    pub fingerprint: Option<String>,
    /// First part of every asset key.
    pub asset_prefix: Option<String>,
}

/// A run in Dagster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DagsterRun {
    /// As Dagster spells it.
    pub status: String,
    /// Whether somebody still executes it, or one launched for the same purpose.
    pub is_running: bool,
    /// Whether the executable's last message arrived, in this run or in one launched by a person since.
    pub is_complete: bool,
}

/// What the tick comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Reply(Reply),
    /// Reload the code location first; what follows depends on how that went.
    Reload {
        done: Reply,
        not_done: Reply,
    },
}

/// What Dagster's daemon is handed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// For the tick's log.
    pub log: Vec<LogLine>,
    pub requests: Vec<RunRequest>,
    /// Why there are no requests.
    pub skip_reason: Option<String>,
    pub cursor: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRequest {
    pub job: Job,
    /// Dagster takes each key once: Python takes the first of `{key}`, `{key}#2`, ... that is free for a sync.
    pub run_key: String,
    pub tags: BTreeMap<String, String>,
    /// For a sync: the plan whose failure it shows.
    pub plan_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    Sync,
    Mirror,
}
