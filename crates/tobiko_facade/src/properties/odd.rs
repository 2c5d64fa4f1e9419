//! Odd names and odd projects, as the cloud may answer them.

use proptest::prelude::*;
use serde_json::{Value, json};
use tobiko_client::Dag;

use crate::manifest::Manifest;

/// A part of a name. The alphabet is small, so that names meet.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abAB]{1,2}",
        4 => "[ab.\\-_ /\\\\\"'$@:;()\\[\\]]{1,4}",
        1 => prop::sample::select(vec!["context", "config", "class", "type", "None", "_", "__", "0", "数据", "表", "🍣"]).prop_map(str::to_owned),
        1 => "[ab]{195,300}",
        1 => "\\PC{1,8}",
        1 => any::<String>().prop_filter("a name", |text| !text.is_empty()),
    ]
}

pub fn quoted(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

pub fn parts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(part(), 1..6)
}

/// A node's name: quoted, half quoted or bare; or any text at all.
pub fn name() -> impl Strategy<Value = String> {
    let dotted = (parts(), any::<u8>()).prop_map(|(parts, quotes)| {
        let write = |(at, part): (usize, &String)| if quotes >> at & 1 == 1 { quoted(part) } else { part.clone() };
        parts.iter().enumerate().map(write).collect::<Vec<_>>().join(".")
    });
    prop_oneof![9 => dotted, 1 => any::<String>()]
}

pub fn audit() -> impl Strategy<Value = String> {
    prop_oneof![3 => part(), 1 => "(not_null|unique)"]
}

/// An audit as a local cloud describes it. Few arguments, so that they meet.
fn audit_with_arguments() -> impl Strategy<Value = Value> {
    let arguments =
        prop_oneof![Just(Value::Null), "[ab(]{1,2}".prop_map(Value::from), ".{0,300}".prop_map(Value::from)];
    (audit(), arguments).prop_map(|(name, arguments)| json!({"name": name, "args": arguments}))
}

/// A field's value, or null, or no field.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![8 => value.prop_map(Some), 1 => Just(Some(Value::Null)), 1 => Just(None)]
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(words).prop_map(Value::from)
}

/// A parent: one of the nodes by its place, or somebody's name.
fn parent() -> impl Strategy<Value = Result<usize, String>> {
    prop_oneof![6 => any::<usize>().prop_map(Ok), 1 => name().prop_map(Err)]
}

/// A DAG as JSON: parents that are no nodes, self-parents, cycles, doubles, missing fields, unknown words.
pub fn dag_json() -> impl Strategy<Value = Value> {
    let node = (
        name(),
        maybe(one_of(&["model", "audit", "model", "metric"])),
        maybe(one_of(&["sql", "seed", "python", "external", "audit", "dbt"])),
        prop::option::weighted(0.9, prop::collection::vec(parent(), 0..4)),
        maybe(prop::collection::vec(audit(), 0..4).prop_map(Value::from)),
        maybe(prop::collection::vec(audit_with_arguments(), 0..4).prop_map(Value::from)),
        maybe("[a-z]{0,5}".prop_map(Value::from)),
    );
    prop::collection::vec(node, 0..9).prop_map(|nodes| {
        let names: Vec<String> = nodes.iter().map(|(name, ..)| name.clone()).collect();
        let nodes = nodes.into_iter().map(|(name, kind, source, parents, audit_names, audits, description)| {
            let of =
                |parent: Result<usize, String>| parent.map_or_else(|name| name, |at| names[at % names.len()].clone());
            let parents = parents.map(|parents| parents.into_iter().map(of).collect::<Vec<_>>().into());
            let fields = [
                ("type", kind),
                ("source_type", source),
                ("parent_names", parents),
                ("audit_names", audit_names),
                ("audits", audits),
                ("description", description),
            ];
            let mut node = json!({"name": name});
            for (field, value) in fields {
                if let Some(value) = value {
                    node[field] = value;
                }
            }
            node
        });
        json!({"environment": "prod", "nodes": nodes.collect::<Vec<_>>()})
    })
}

/// As the client reads it.
pub fn read(dag: &Value) -> Dag {
    serde_json::from_str(&dag.to_string()).unwrap()
}

/// DAGs, some of them with nodes that are called as other nodes' ops or keys are.
pub fn dag() -> impl Strategy<Value = Dag> {
    (dag_json(), prop::collection::vec(any::<prop::sample::Index>(), 0..3)).prop_map(|(json, copies)| {
        let mut dag = read(&json);
        let manifest = Manifest::new("prod", Some(&dag), None);
        for copy in copies.iter().filter(|_| !manifest.nodes.is_empty()) {
            let node = copy.get(&manifest.nodes);
            let called = match &node.key {
                Some(key) if copy.index(2) == 0 => key.iter().map(|part| quoted(part)).collect::<Vec<_>>().join("."),
                _ => node.op.clone(),
            };
            dag.nodes.push(tobiko_client::DagNode { name: called, ..dag.nodes[0].clone() });
        }
        dag
    })
}
