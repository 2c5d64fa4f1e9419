//! Warnings about odd data, each logged once: a run is polled every few seconds, and its oddities stay.
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// So many different ones are logged. After that the data is odd throughout, and more lines would not help.
const MAX_WARNINGS: usize = 200;

static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Logs a warning, unless this process has logged the same one already.
pub fn warn_once(message: String) {
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() < MAX_WARNINGS && !logged.contains(&message) {
        tracing::warn!("{message}");
        logged.insert(message);
    }
}
