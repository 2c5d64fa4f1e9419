//! Records for tests, written in short.

use jiff::Timestamp;
use tobiko_client::{AuditEvaluation, Dag, DagNode, Evaluation, NodeType, Run, SourceType, Status};

use crate::report::events::Event;
use crate::run_state::watcher::Watcher;

/// `status`, `status:message`; a final status brings an end.
pub fn run(status: &str) -> Run {
    let (status, error_message) = split(status);
    let end_at = status.is_final().then(|| at(1_000));
    Run {
        run_id: "r".into(),
        environment: "prod".into(),
        start_at: Some(at(0)),
        end_at,
        error_message,
        status,
        link: Some("http://run".into()),
        ..Run::default()
    }
}

/// The `n`th evaluation of a node: `status`, `status:message`; `status+` for one with an end whatever the status says.
pub fn evaluation(node: &str, n: usize, status: &str) -> Evaluation {
    let with_end = status.ends_with('+');
    let (status, error_message) = split(status.trim_end_matches('+'));
    let second = 10 * i64::try_from(n).unwrap();
    let is_planned = status == Status::Scheduled;
    Evaluation {
        evaluation_id: format!("{node}-{n}"),
        node_name: node.to_owned(),
        run_id: Some("r".into()),
        start_at: (!is_planned).then(|| at(second)),
        end_at: (with_end || status.is_final()).then(|| at(second + 5)),
        error_message,
        status,
        link: Some(format!("http://debugger/{node}-{n}")),
        log_link: Some(format!("http://log/{node}-{n}")),
        ..Evaluation::default()
    }
}

pub fn audit(name: &str, passed: bool) -> AuditEvaluation {
    let status = if passed { Status::Success } else { Status::Failed };
    AuditEvaluation { name: name.to_owned(), status, execution_time: Some(at(7)), ..AuditEvaluation::default() }
}

/// A node: `name < parent parent`; a name that starts with `~` is a standalone audit, with `%` a seed, with `^` an external model.
pub fn node(text: &str) -> DagNode {
    let (name, parents) = text.split_once('<').unwrap_or((text, ""));
    let name = name.trim();
    let plain = name.trim_start_matches(['~', '%', '^']).to_owned();
    let is_audit = name.starts_with('~');
    DagNode {
        model_name: plain.clone(),
        name: plain,
        source_type: match name.chars().next() {
            Some('~') => SourceType::Audit,
            Some('%') => SourceType::Seed,
            Some('^') => SourceType::External,
            _ => SourceType::Sql,
        },
        parent_names: parents.split_whitespace().map(str::to_owned).collect(),
        node_type: if is_audit { NodeType::Audit } else { NodeType::Model },
        ..DagNode::default()
    }
}

pub fn dag(nodes: &[&str]) -> Dag {
    Dag { environment: "prod".into(), nodes: nodes.iter().map(|text| node(text)).collect(), ..Dag::default() }
}

/// The events of one poll.
pub fn poll(watcher: &mut Watcher, run: &Run, evaluations: &[Evaluation], with_unknown_nodes: bool) -> Vec<Event> {
    let mut snapshot = watcher.snapshot();
    snapshot.extend(evaluations.iter().cloned());
    let snapshot = snapshot.build();
    let changes = watcher.diff(run, snapshot, with_unknown_nodes);
    changes.into_events(watcher.assets()).collect()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn split(status: &str) -> (Status, Option<String>) {
    match status.split_once(':') {
        Some((status, message)) => (Status::from(status.to_owned()), Some(message.to_owned())),
        None => (Status::from(status.to_owned()), None),
    }
}
