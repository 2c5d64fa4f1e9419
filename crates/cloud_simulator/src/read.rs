//! Reads a scenario's file, and refuses what cannot be meant.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::faults::Rule;
use crate::file::{Scenario, from_value};
use crate::unknown_names;

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read the scenario {path}: {reason}")]
pub struct ScenarioError {
    path: PathBuf,
    reason: String,
}

impl Scenario {
    /// Reads YAML, or JSON, which is a part of it.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let failed = |reason: String| ScenarioError { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let scenario: Self = from_value(value)?;
        if let Some(reason) = scenario.faults.iter().find_map(Rule::wrong) {
            return Err(reason);
        }
        match unknown_names::first(&scenario) {
            Some(unknown) => Err(unknown.in_file(text)),
            None => Ok(scenario),
        }
    }
}
