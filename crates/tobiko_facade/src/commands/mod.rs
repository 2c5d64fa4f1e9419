//! The commands, a file each; here is what they share: how a command is stopped, and how its end is reported.

pub mod check;
pub mod definitions;
pub mod mirror;
pub mod poll;
pub mod serve;
pub mod sync;
pub mod test_messages;
pub mod tick;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Command;
use crate::config::{Patience, client};
use crate::report::events::{Done, DoneAs, Event};
use crate::report::{Audience, Reporter};
use crate::{exit_code, shutdown};

/// Runs a command to its end.
///
/// # Errors
///
/// Whatever kept it from doing its work; `exit_code` has the code for it.
pub async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Definitions(args) => definitions::definitions(&args).await,
        Command::Poll(args) => {
            let client = client(&args.cloud, Patience::Short)?;
            let since = args.since.as_deref();
            print(&until_stopped(poll::poll(&client, &args.cloud.environment, since)).await?)
        }
        Command::Tick(args) => {
            let input = tick::read_input(std::io::stdin().lock())?;
            let client = client(&args, Patience::Short)?;
            print(&until_stopped(tick::tick(&client, &args.environment, &input)).await?)
        }
        Command::Check(args) => {
            let client = client(&args, Patience::Short)?;
            let base_url = args.base_url.as_deref().unwrap_or_default();
            let line = |text: &str| drop(writeln!(std::io::stdout(), "{text}"));
            until_stopped(check::check(&client, base_url, &args.environment, line)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sync(args) => {
            let mut audience = Audience::find()?;
            let work = async |audience: &mut Audience| {
                let client = client(&args.cloud, Patience::Long)?;
                sync::sync(&client, &args, audience).await
            };
            tell(&mut audience, work).await
        }
        Command::Mirror(args) => {
            let mut audience = Audience::find()?;
            let job = audience.job_nodes();
            let work = async |audience: &mut Audience| {
                let client = client(&args.cloud, Patience::Long)?;
                mirror::mirror(&client, &args, &job, audience).await
            };
            tell(&mut audience, work).await
        }
        Command::Serve(args) => serve::serve(args).await,
        Command::TellTestMessages(args) => {
            let mut audience = Audience::find()?;
            let work = async |audience: &mut Audience| test_messages::tell(&args, audience).await;
            tell(&mut audience, work).await
        }
    }
}

/// Does `work`, which tells `audience` what it finds, and tells how that ended.
///
/// Under Dagster the code is 0 whenever that could be told: Python raises the failure.
async fn tell(audience: &mut Audience, work: impl AsyncFnOnce(&mut Audience) -> Result<Done>) -> Result<ExitCode> {
    let for_dagster = audience.is_dagster();
    let outcome = tokio::select! {
        outcome = work(audience) => outcome,
        stop = shutdown::requested(for_dagster) => stop.and_then(|interrupted| Err(interrupted.into())),
    };
    match outcome {
        Ok(done) => {
            audience.tell(&Event::Done(done.clone()))?;
            let is_bad = !for_dagster && done.outcome != DoneAs::Success;
            Ok(if is_bad { ExitCode::from(exit_code::RUN_FAILED) } else { ExitCode::SUCCESS })
        }
        Err(error) if for_dagster => {
            let reason = Some(exit_code::sentence(&error));
            let done = Done { outcome: DoneAs::GaveUp, run_id: None, reason, link: None, tasks: 0, requests: 0 };
            audience.tell(&Event::Done(done)).map(|()| ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

async fn until_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        stop = shutdown::requested(false) => Err(stop?.into()),
    }
}

/// Writes `answer` to stdout as JSON.
fn print(answer: &impl Serialize) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}
