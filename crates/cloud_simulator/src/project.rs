//! The nodes of an environment: those that the scenario names, and those that it has made up.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::file::{Environment, Generate, Node};
use crate::names::unquoted;
use local_cloud::SourceType;

/// Named ones first.
pub(crate) fn nodes(environment: &Environment) -> Vec<Node> {
    let generated = environment.generate.iter().flat_map(generate);
    environment.nodes.iter().cloned().chain(generated).collect()
}

/// The event in which a recorder reports it.
pub(crate) fn event(environment: &str, nodes: &[Node], at: Timestamp) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| {
            let is_audit = node.source_type == SourceType::Audit;
            json!({"name": node.name, "model_name": unquoted(&node.name), "description": node.description,
                   "source_type": node.source_type, "tags": node.tags, "parent_names": node.parents,
                   "audit_names": node.audits, "type": if is_audit { "audit" } else { "model" }, "version": "1"})
        })
        .collect();
    json!({"type": "environment", "at": at, "environment": environment, "start_at": at, "nodes": nodes})
}

/// Seeds first, then the models, layer by layer, each with parents in the layer above.
fn generate(wanted: &Generate) -> Vec<Node> {
    let node = |name: String, source_type| Node {
        name,
        parents: Vec::new(),
        audits: Vec::new(),
        source_type,
        description: None,
        tags: Vec::new(),
    };
    let seeds = (1..=wanted.seeds).map(|n| node(format!(r#""lake"."seeds"."seed_{n:02}""#), SourceType::Seed));
    let seeds: Vec<Node> = seeds.collect();
    let layers = wanted.layers.clamp(1, wanted.models.max(1));
    let mut above: Vec<String> = seeds.iter().map(|seed| seed.name.clone()).collect();
    let mut models: Vec<Node> = Vec::new();
    for layer in 0..layers {
        let (first, end) = (layer * wanted.models / layers, (layer + 1) * wanted.models / layers);
        let made: Vec<Node> = (first..end)
            .map(|n| {
                // Neighbours, so that the layers hang together and no node is everybody's parent.
                let parents = (0..wanted.parents_each.min(above.len()))
                    .map(|further| above[(n + further) % above.len()].clone())
                    .collect();
                let audits = (1..=wanted.audits_each).map(|audit| format!("audit_{audit}")).collect();
                let name = format!(r#""lake"."layer_{}"."model_{:02}""#, layer + 1, n + 1);
                Node { parents, audits, ..node(name, SourceType::Sql) }
            })
            .collect();
        above = made.iter().map(|model| model.name.clone()).collect();
        models.extend(made);
    }
    let audits: Vec<Node> = (0..wanted.standalone_audits)
        .map(|n| {
            let covered = (0..2.min(models.len())).map(|further| models[(n * 2 + further) % models.len()].name.clone());
            let parents = covered.collect();
            Node { parents, ..node(format!(r#""lake"."audits"."standalone_{:02}""#, n + 1), SourceType::Audit) }
        })
        .collect();
    seeds.into_iter().chain(models).chain(audits).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_made_up_is_a_dag_in_layers() {
        let check = |models, layers, seeds, standalone_audits| {
            let wanted = Generate { models, layers, audits_each: 2, parents_each: 3, seeds, standalone_audits };
            let nodes = generate(&wanted);
            assert_eq!(nodes.len(), models + seeds + standalone_audits);
            let mut seen = HashSet::new();
            for node in &nodes {
                assert!(node.parents.iter().all(|parent| seen.contains(parent)), "{node:?}");
                assert!(seen.insert(node.name.clone()), "{node:?}");
            }
            let roots = nodes.iter().filter(|node| node.parents.is_empty()).count();
            assert_eq!(roots, if seeds > 0 { seeds } else { models / layers.min(models) });
        };
        check(60, 6, 2, 3);
        check(60, 7, 0, 0);
        check(1, 9, 0, 1);
    }
}
