//! `tobiko-facade tick`: one tick of the sensor. Reads what Dagster knows from stdin, and prints what is to be done.

use std::io::Read;

use anyhow::{Context, Result};
use tobiko_client::Client;

use super::environment;
use crate::cli::CloudArgs;
use crate::manifest::Manifest;
use crate::manifest::cache::ManifestCache;
use crate::sensor::decide::{News, Review, Tick, review};
use crate::sensor::messages::{Answer, TickInput};
use crate::sensor::unchanged::is_unchanged;
use crate::sensor::{new_runs, plans};

/// What Python piped in.
pub fn read_input(mut stdin: impl Read) -> Result<TickInput> {
    let mut text = String::new();
    stdin.read_to_string(&mut text).context("cannot read what Dagster knows from stdin")?;
    serde_json::from_str(&text).context("what Dagster knows is not the JSON that was expected")
}

/// The tick's outcome. An idle tick makes two small requests, one for runs and one for plans; one that waits for a mirror none.
pub async fn tick(client: &Client, args: &CloudArgs, input: &TickInput) -> Result<Answer> {
    match review(&args.environment, input) {
        Review::Settled(answer) => Ok(answer),
        Review::NeedsNews(tick) => {
            let news = news(client, args, input, &tick).await?;
            Ok(tick.of_cloud(client.cloud_name()).decide(&news))
        }
    }
}

async fn news(client: &Client, args: &CloudArgs, input: &TickInput, tick: &Tick<'_>) -> Result<News> {
    let given = args.environment.as_str();
    let name = environment::with_runs(client, given).await?;
    let environment = name.as_str();
    let dag = async || client.dag(environment).await.context("cannot get the environment's DAG");
    if !input.manifest.exists && dag().await?.is_none() {
        return Ok(News::default());
    }
    let runs = new_runs::fetch(client, environment, tick.cursor()).await?;
    let plans = if tick.needs_plans(&runs) {
        Some(plans::fetch(client, environment, &tick.cursor().plans).await?)
    } else {
        None
    };
    let is_due = plans.as_ref().is_some_and(|plans| plans.due.is_some());
    if input.manifest.exists && runs.runs.is_empty() && !is_due {
        return Ok(News { exists: true, fingerprint: None, runs, plans, next_is_unchanged: false });
    }
    let loaded = &input.manifest;
    let prefix = loaded.asset_prefix.as_deref();
    let manifest = Manifest::new(given, dag().await?.as_ref(), prefix);
    let is_loaded = loaded.fingerprint.as_ref() == Some(&manifest.fingerprint);
    let next_is_unchanged = match tick.to_mirror(&runs.runs).first().filter(|_| !is_loaded && loaded.exists) {
        None => false,
        Some(next) => {
            let base_url = args.base_url.as_deref().unwrap_or_default().trim();
            let kept = ManifestCache::new(base_url, given, prefix).and_then(|cache| cache.read());
            let kept = kept.map(|kept| kept.manifest).unwrap_or_default();
            is_unchanged(client, next, &kept, loaded.fingerprint.as_deref(), &manifest).await
        }
    };
    let fingerprint = Some(manifest.fingerprint);
    Ok(News { exists: manifest.exists, fingerprint, runs, plans, next_is_unchanged })
}
