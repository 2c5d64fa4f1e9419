//! `tobiko-facade tick`: one tick of the sensor. Reads what Dagster knows from stdin, and prints what is to be done.

use std::io::Read;

use anyhow::{Context, Result};
use tobiko_client::Client;

use super::poll;
use crate::manifest::Manifest;
use crate::sensor::decide::{News, Review, Tick, review};
use crate::sensor::messages::{Answer, TickInput};

/// What Python piped in.
pub fn read_input(mut stdin: impl Read) -> Result<TickInput> {
    let mut text = String::new();
    stdin.read_to_string(&mut text).context("cannot read what Dagster knows from stdin")?;
    serde_json::from_str(&text).context("what Dagster knows is not the JSON that was expected")
}

/// The tick's outcome. An idle tick makes one small request; one that waits for a mirror makes none.
pub async fn tick(client: &Client, environment: &str, input: &TickInput) -> Result<Answer> {
    match review(environment, input) {
        Review::Settled(answer) => Ok(answer),
        Review::NeedsNews(tick) => {
            let news = news(client, environment, input, &tick).await?;
            Ok(tick.decide(&news))
        }
    }
}

async fn news(client: &Client, environment: &str, input: &TickInput, tick: &Tick<'_>) -> Result<News> {
    let mut fingerprint = None;
    if !input.manifest.exists {
        let dag = client.dag(environment).await.context("cannot get the environment's DAG")?;
        if dag.is_none() {
            return Ok(News::default());
        }
        fingerprint = Some(Manifest::new(environment, dag.as_ref(), None).fingerprint);
    }
    let mut news = poll::poll(client, environment, tick.cursor().last.as_deref()).await?.for_sensor();
    news.fingerprint = news.fingerprint.or(fingerprint);
    Ok(news)
}
