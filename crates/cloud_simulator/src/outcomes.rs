//! Which outcome a node has in a run: as it is named there, as chance has it, or well.

use crate::file::{Audited, Node, Outcome, Run};
use crate::names::{matches, unquoted};
use crate::rng::draw;
use local_cloud::SourceType;

/// Keys of the chances that are about a node's audits, not about itself.
const AUDIT_FAILED: &str = "audit_failed";
const AUDIT_BLOCKS: &str = "audit_blocks";

pub(crate) struct Outcomes<'a> {
    seed: u64,
    run: &'a Run,
    run_id: &'a str,
}

impl<'a> Outcomes<'a> {
    pub fn new(seed: u64, run: &'a Run, run_id: &'a str) -> Self {
        Self { seed, run, run_id }
    }

    pub fn of(&self, node: &Node) -> Outcome {
        if let Some(outcome) = self.named(&node.name) {
            return outcome.clone();
        }
        if matches!(node.source_type, SourceType::Seed | SourceType::External) {
            return Outcome::of("none");
        }
        let mut left = draw(self.seed, &["outcome", self.run_id, &node.name]);
        let mut outcome = Outcome::of("success");
        let chances = self.run.chances.iter();
        for (status, chance) in chances.filter(|(status, _)| ![AUDIT_FAILED, AUDIT_BLOCKS].contains(&status.as_str())) {
            if left < *chance {
                outcome.status.clone_from(status);
                break;
            }
            left -= chance;
        }
        let is_standalone = node.source_type == SourceType::Audit;
        let own = [unquoted(&node.name)];
        for audit in if is_standalone { &own[..] } else { &node.audits } {
            let drawn = draw(self.seed, &["audit", self.run_id, &node.name, audit]);
            let blocks = self.chance(AUDIT_BLOCKS);
            if outcome.status == "success" && drawn < blocks + self.chance(AUDIT_FAILED) {
                let result = if drawn < blocks { Audited::Blocks } else { Audited::Failed };
                outcome.audits.insert(audit.clone(), result);
            }
        }
        outcome
    }

    /// The name itself comes before a pattern, a longer pattern before a shorter one.
    fn named(&self, name: &str) -> Option<&Outcome> {
        let (named, name) = (&self.run.nodes, unquoted(name));
        let exact = named.iter().find(|(given, _)| unquoted(given) == name);
        let fits =
            || named.iter().filter(|(given, _)| matches(&unquoted(given), &name)).max_by_key(|(given, _)| given.len());
        exact.or_else(fits).map(|(_, outcome)| outcome)
    }

    fn chance(&self, key: &str) -> f64 {
        self.run.chances.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_counts() {
        let run = serde_norway::from_str::<serde_json::Value>(
            "nodes: {'*': skipped, 'a.*': failed, '\"a\".\"b\"': none}\nchances: {preempted: 1}",
        );
        let run: Run = crate::file::from_value(run.expect("YAML")).expect("a run");
        let outcomes = Outcomes::new(1, &run, "r");
        let check = |name: &str, expected: &str| {
            let node = Node {
                name: name.to_owned(),
                parents: Vec::new(),
                audits: Vec::new(),
                source_type: SourceType::Sql,
                description: None,
                tags: Vec::new(),
            };
            assert_eq!(outcomes.of(&node).status, expected, "{name}");
        };
        check(r#""a"."b""#, "none");
        check(r#""a"."c""#, "failed");
        check("other", "skipped");
    }
}
