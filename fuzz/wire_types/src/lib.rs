//! The client's wire types without the client: no network, no TLS, so that a fuzz target is built in seconds. Under the
//! client's name, so that what is made of the types compiles as it stands.

#[path = "../../../crates/tobiko_client/src/body.rs"]
#[allow(dead_code, reason = "what an answer began with is for the client's sentences")]
mod body;
#[path = "../../../crates/tobiko_client/src/lenient.rs"]
mod lenient;
#[path = "../../../crates/tobiko_client/src/told.rs"]
mod told;
#[path = "../../../crates/tobiko_client/src/wire.rs"]
mod wire;

pub use wire::{AuditEvaluation, Dag, DagNode, Evaluation, NodeType, Run, SourceType, Status};

/// What the client makes of three answers' text. `None`: it is no JSON.
pub fn read(text: &str) -> (Option<Vec<Dag>>, Option<Vec<Run>>, Option<Vec<Evaluation>>) {
    (list(text), list(text), list(text))
}

/// Read as a whole, and in pieces: it must be the same.
fn list<T: lenient::Record + PartialEq>(text: &str) -> Option<Vec<T>> {
    let read = |length: usize| {
        let mut reader = body::RecordReader::<T, Vec<T>>::new(Vec::new());
        text.as_bytes().chunks(length).for_each(|piece| reader.feed(piece));
        reader.end().ok()
    };
    let (whole, pieces) = (read(text.len().max(1)), read(1 + text.len() % 37));
    assert_eq!(whole.is_some(), pieces.is_some(), "it depends on the pieces whether it is JSON");
    let (whole, pieces) = (whole?, pieces?);
    assert!(whole.list == pieces.list && whole.came == pieces.came && whole.stranger == pieces.stranger);
    assert!(whole.list.len() <= whole.came, "more records than came");
    assert!(!whole.stranger || whole.came == 1, "a stranger among others");
    Some(whole.list)
}
