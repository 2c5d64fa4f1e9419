//! The client's wire types without the client: no network, no TLS, so that a fuzz target is built in seconds. Under the
//! client's name, so that what is made of the types compiles as it stands.

#[path = "../../../crates/tobiko_cloud/src/lenient.rs"]
mod lenient;
#[path = "../../../crates/tobiko_cloud/src/told.rs"]
mod told;
#[path = "../../../crates/tobiko_cloud/src/wire.rs"]
mod wire;

pub use wire::{AuditEvaluation, Dag, DagNode, Evaluation, NodeType, Run, SourceType, Status};

/// What the client makes of three answers' text. `None`: it is no JSON.
pub fn read(text: &str) -> (Option<Vec<Dag>>, Option<Vec<Run>>, Option<Vec<Evaluation>>) {
    (list(text), list(text), list(text))
}

fn list<T: lenient::Record>(text: &str) -> Option<Vec<T>> {
    lenient::records(text).ok().map(|records| {
        assert!(records.list.len() <= records.came, "more records than came");
        assert!(!records.stranger || records.came == 1, "a stranger among others");
        records.list
    })
}
