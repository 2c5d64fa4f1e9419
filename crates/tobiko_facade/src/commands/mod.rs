//! The commands, a file each; here is what they share: how a command is stopped, and how its end is reported.

pub mod check;
pub mod definitions;
pub mod mirror;
pub mod plan_failure;
pub mod poll;
pub mod serve;
pub mod sync;
pub mod tick;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Command;
use crate::config::{TimeoutProfile, client};
use crate::report::events::{Event, FinishedAs, RunFinished};
use crate::report::{OutputReporter, Reporter};
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
            let client = client(&args.cloud, TimeoutProfile::Short)?;
            let since = args.since.as_deref();
            print(&until_stopped(poll::poll(&client, &args.cloud.environment, since)).await?)
        }
        Command::Tick(args) => {
            let input = tick::read_input(std::io::stdin().lock())?;
            let client = client(&args, TimeoutProfile::Short)?;
            print(&until_stopped(tick::tick(&client, &args.environment, &input)).await?)
        }
        Command::Check(args) => {
            let client = client(&args, TimeoutProfile::Short)?;
            let base_url = args.base_url.as_deref().unwrap_or_default();
            let line = |text: &str| drop(writeln!(std::io::stdout(), "{text}"));
            until_stopped(check::check(&client, base_url, &args.environment, line)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sync(args) => {
            let mut reporter = OutputReporter::from_environment()?;
            let work = async |reporter: &mut OutputReporter| {
                let client = client(&args.cloud, TimeoutProfile::Long)?;
                sync::sync(&client, &args, reporter).await
            };
            report_outcome(&mut reporter, work).await
        }
        Command::Mirror(args) => {
            let mut reporter = OutputReporter::from_environment()?;
            let job = reporter.job_nodes();
            let work = async |reporter: &mut OutputReporter| {
                let client = client(&args.cloud, TimeoutProfile::Long)?;
                mirror::mirror(&client, &args, &job, reporter).await
            };
            report_outcome(&mut reporter, work).await
        }
        Command::Serve(args) => serve::serve(args).await,
    }
}

/// Does `work`, which reports what it finds, and reports how that ended.
///
/// Under Dagster the code is 0 whenever that could be reported: Python raises the failure.
///
/// # Errors
///
/// Under Dagster, that the channel is broken; at a terminal, whatever `work` fails with.
pub async fn report_outcome(
    reporter: &mut OutputReporter,
    work: impl AsyncFnOnce(&mut OutputReporter) -> Result<RunFinished>,
) -> Result<ExitCode> {
    let for_dagster = reporter.is_dagster();
    let outcome = tokio::select! {
        outcome = work(reporter) => outcome,
        stop = shutdown::requested(for_dagster) => stop.and_then(|interrupted| Err(interrupted.into())),
    };
    match outcome {
        Ok(finished) => {
            let is_bad = !for_dagster && finished.outcome != FinishedAs::Success;
            reporter.report(&Event::RunFinished(finished))?;
            Ok(if is_bad { ExitCode::from(exit_code::RUN_FAILED) } else { ExitCode::SUCCESS })
        }
        Err(error) if for_dagster => {
            let reason = Some(exit_code::sentence(&error));
            let finished = RunFinished { reason, ..RunFinished::new(FinishedAs::GaveUp) };
            reporter.report(&Event::RunFinished(finished)).map(|()| ExitCode::SUCCESS)
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
