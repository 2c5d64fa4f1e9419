//! `tobiko-facade check`: for a person who sets it up. Each line is a step that works; the first that does not is the error.

use anyhow::Result;
use tobiko_client::{Client, Run};

use super::environment;
use crate::manifest::Manifest;
use crate::polling::runs::newest;

/// Passes what it finds to `line`, line by line.
pub async fn check(client: &Client, base_url: &str, environment: &str, mut line: impl FnMut(&str)) -> Result<()> {
    let found = environment::find(client, environment).await?;
    line(&format!("✓ reached {base_url}"));
    line("✓ authenticated");
    line(&format!("✓ {}", cloud(client).await?));
    let Some(dag) = found.dag else { return Err(environment::unknown(client, environment).await.into()) };
    let environment = found.name.as_str();
    let manifest = Manifest::without_fingerprint(environment, Some(&dag), None);
    let models = manifest.nodes.iter().filter(|node| node.key.is_some()).count();
    let standalone = manifest.nodes.len() - models;
    let checks: usize = manifest.nodes.iter().map(|node| node.checks.len()).sum();
    let (models, checks) = (counted(models, "model"), counted(checks, "check"));
    let standalone = counted(standalone, "standalone audit");
    line(&format!("✓ environment '{environment}': {models}, {checks}, {standalone}"));
    for warning in &manifest.warnings {
        line(&format!("! {warning}"));
    }
    match newest(client, environment, 1).await?.last() {
        Some(run) => line(&format!("✓ last run: {}", describe(run))),
        None => line("✓ no run yet: the first one will be mirrored"),
    }
    Ok(())
}

/// Which cloud this is, and which project of it.
async fn cloud(client: &Client) -> Result<String> {
    if !client.is_local_cloud() {
        return Ok("cloud: Tobiko Cloud".to_owned());
    }
    let Some(info) = client.info().await? else { return Ok("cloud: a local cloud".to_owned()) };
    let project = match info.project.as_deref() {
        Some("") | None => "the only project, which has no name".to_owned(),
        Some(name) => format!("project '{name}'"),
    };
    Ok(format!("cloud: a local cloud, version {}; {project}", info.version))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn describe(run: &Run) -> String {
    let started = run.start_at.map(|at| format!(", started {at:.0}")).unwrap_or_default();
    let link = run.link.as_deref().map(|link| format!("\n    {link}")).unwrap_or_default();
    format!("{} ({}{started}){link}", run.run_id, run.status)
}
