//! `tobiko-facade`: reports to Dagster, or to a person at a terminal, what Tobiko Cloud's scheduler did.
//!
//! `config -> client -> watcher -> events -> reporter`, and nothing calls back. The modules stand in the order in which they
//! build on each other, the highest first; none imports one above it.

// What is started, by what was typed and what stands in the environment.
pub mod commands;

pub mod config;

pub mod cli;

// A remote run, polled to its end.
pub mod polling;
pub mod run_state;
// What the sensor does with them.
pub mod sensor;

// What Dagster declares, and what it is sent.
pub mod manifest;
pub mod report;

// How the process ends.
pub mod exit_code;
pub mod shutdown;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
