//! Environments and nodes that a scenario refers to and does not have: typing errors, found before anything is played.

use std::collections::HashSet;

use crate::file::{Environment, Run, Scenario};
use crate::names::unquoted;

/// How similar a name must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.7;

/// A name that nothing has.
pub(crate) struct Unknown {
    name: String,
    sentence: String,
    /// The index of the run that refers to it.
    run: usize,
}

/// The first unknown name of the scenario's runs.
pub(crate) fn first(scenario: &Scenario) -> Option<Unknown> {
    scenario.runs.iter().enumerate().find_map(|(at, run)| in_run(at, run, &scenario.environments))
}

/// The sentence on the run's first unknown name.
pub(crate) fn of_run(run: &Run, known: &[Environment]) -> Option<String> {
    in_run(0, run, known).map(|unknown| unknown.sentence)
}

fn in_run(at: usize, run: &Run, known: &[Environment]) -> Option<Unknown> {
    let environments: Vec<&str> = known.iter().map(|environment| environment.name.as_str()).collect();
    if !environments.contains(&run.environment.as_str()) {
        let sentence = format!("no environment '{}'{}", run.environment, suggestion(&run.environment, &environments));
        return Some(Unknown { name: run.environment.clone(), sentence, run: at });
    }
    let of_run = known.iter().filter(|environment| environment.name == run.environment);
    let nodes: HashSet<String> = of_run.flat_map(crate::project::nodes).map(|node| unquoted(&node.name)).collect();
    let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let unknown = run.nodes.keys().find(|name| !name.contains('*') && !nodes.contains(&unquoted(name)))?;
    let sentence = format!("no node '{unknown}' in environment '{}'{}", run.environment, suggestion(unknown, &names));
    Some(Unknown { name: unknown.clone(), sentence, run: at })
}

impl Unknown {
    /// The sentence, with the line of `text` in which the name stands.
    pub(crate) fn in_file(&self, text: &str) -> String {
        match line(text, self.run, &self.name) {
            Some(line) => format!("line {line}: {}", self.sentence),
            None => self.sentence.clone(),
        }
    }
}

/// The line of the run's item in which `name` stands, counted from 1.
fn line(text: &str, run: usize, name: &str) -> Option<usize> {
    let document = marked_yaml::parse_yaml(0, text).ok()?;
    let run = document.as_mapping()?.get_sequence("runs")?.get(run)?.as_mapping()?;
    if let Some(environment) = run.get_scalar("environment").filter(|environment| environment.as_str() == name) {
        return environment.span().start().map(marked_yaml::Marker::line);
    }
    let nodes = run.get_mapping("nodes")?;
    let key = nodes.keys().find(|key| key.as_str() == name)?;
    key.span().start().map(marked_yaml::Marker::line)
}

/// `: did you mean 'x'?`, where a name is similar.
fn suggestion(name: &str, known: &[&str]) -> String {
    let name = unquoted(name);
    let similar = known.iter().map(|known| (strsim::jaro_winkler(&name, known), *known));
    let nearest = similar.filter(|(similarity, _)| *similarity >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, known)| format!(": did you mean '{known}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::Scenario;

    const PROJECT: &str =
        "environments:\n  - nodes:\n      - {name: shop.orders}\n      - {name: '\"lake\".\"s\".\"a\"'}\n";

    #[track_caller]
    fn check(runs: &str, expected: Result<(), &str>) {
        let outcome = Scenario::parse(&format!("{PROJECT}runs:\n{runs}")).map(drop);
        assert_eq!(outcome, expected.map_err(str::to_owned));
    }

    #[test]
    fn names_that_the_scenario_has_are_accepted() {
        check("  - nodes: {shop.orders: failed, lake.s.a: failed, '*anything*': failed}\n", Ok(()));
        check("  - {environment: prod}\n", Ok(()));
    }

    #[test]
    fn an_unknown_name_is_an_error_with_its_line_and_the_nearest_name() {
        check(
            "  - {id: shop.order}\n  - nodes:\n      shop.order: failed\n",
            Err("line 8: no node 'shop.order' in environment 'prod': did you mean 'shop.orders'?"),
        );
        check("  - nodes: {nothing_like_it: failed}\n", Err("line 6: no node 'nothing_like_it' in environment 'prod'"));
        check("  - {environment: prdo}\n", Err("line 6: no environment 'prdo': did you mean 'prod'?"));
    }
}
