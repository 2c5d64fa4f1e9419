//! `tobiko-facade`: tells Dagster, or a person at a terminal, what Tobiko Cloud's scheduler did.
//!
//! `settings -> client -> watcher -> events -> reporter`, and nothing calls back.

mod cli;
mod exit;
mod settings;

mod check;
mod mirror;
mod poll;
mod serve;
mod sync;
mod test_messages;

mod insist;
mod pace;
mod stop;

mod batches;
mod manifest;
mod names;
mod tasks;
mod text;
mod verdict;
mod watcher;

mod events;
mod report;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::events::{Done, DoneAs, Event};
use crate::manifest::Manifest;
use crate::report::{Audience, Reporter};
use crate::settings::{Patience, client};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => help.exit(),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(exit::USAGE);
        }
    };
    start_logging(&cli);
    let runtime = match &cli.command {
        // One thread is enough for those that ask; the server has many that ask it.
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let is_server = matches!(&cli.command, Command::Serve(_));
    let outcome = runtime.context("cannot start").and_then(|runtime| {
        let outcome = runtime.block_on(run(cli.command));
        if !is_server {
            // Who was asked to stop does so at once: a name that is still being looked up would take its seconds.
            runtime.shutdown_background();
        }
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", exit::sentence(&error));
            exit::code(&error)
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Definitions(args) => {
            let client = client(&args.cloud, Patience::Short)?;
            let environment = &args.cloud.environment;
            let dag = until_stopped(async { Ok(client.dag(environment).await?) }).await?;
            print(&Manifest::new(environment, dag.as_ref(), args.asset_prefix.as_deref()))
        }
        Command::Poll(args) => {
            let client = client(&args.cloud, Patience::Short)?;
            let since = args.since.as_deref();
            print(&until_stopped(poll::poll(&client, &args.cloud.environment, since)).await?)
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
        stop = stop::requested(for_dagster) => stop.and_then(|interrupted| Err(interrupted.into())),
    };
    match outcome {
        Ok(done) => {
            audience.tell(&Event::Done(done.clone()))?;
            let is_bad = !for_dagster && done.outcome != DoneAs::Success;
            Ok(if is_bad { ExitCode::from(exit::RUN_FAILED) } else { ExitCode::SUCCESS })
        }
        Err(error) if for_dagster => {
            let reason = Some(exit::sentence(&error));
            let done = Done { outcome: DoneAs::GaveUp, run_id: None, reason, link: None, tasks: 0, requests: 0 };
            audience.tell(&Event::Done(done)).map(|()| ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

async fn until_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        stop = stop::requested(false) => Err(stop?.into()),
    }
}

/// Writes `answer` to stdout as JSON.
fn print(answer: &impl Serialize) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

fn start_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,tobiko_client=debug,tobiko_facade=debug,local_cloud=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

/// Whoever read stdout has heard enough: a normal end, but for the channel to Dagster.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    if error.is::<exit::ChannelBroken>() {
        return false;
    }
    let kind =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
