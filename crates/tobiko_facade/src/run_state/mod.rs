//! The state of a remote run, from its evaluations to the tasks of Dagster's job. Pure: nothing here sends a request.

// From one evaluation to a node's task.
pub mod asset_map;
pub mod evaluation_state;
pub mod node_summary;
pub mod task;
pub mod verdict;

// From one snapshot of the run to the next.
pub mod watcher;
