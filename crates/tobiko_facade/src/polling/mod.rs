//! How the cloud is polled: which runs are the newest, how long to wait between two polls, and what to do in an outage.

pub mod outage;
pub mod pace;
pub mod runs;
