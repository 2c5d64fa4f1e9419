//! The commands, a file each; here is what they share: how a command is stopped, and how its end is reported.

pub mod check;
pub mod definitions;
pub mod environment;
pub mod forget;
mod history;
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
use crate::exit_code::Interrupted;
use crate::report::events::{Event, FinishedAs, RunFinished};
use crate::report::{OutputReporter, Reporter};
use crate::{exit_code, shutdown};

/// Runs a command to its end. `quiet`: nothing is printed for people but errors.
///
/// # Errors
///
/// Whatever kept it from doing its work; `exit_code` has the code for it.
pub async fn run(command: Command, quiet: bool) -> Result<ExitCode> {
    match command {
        Command::Definitions(args) => definitions::definitions(&args).await,
        Command::Poll(args) => {
            let client = client(&args.cloud, TimeoutProfile::Short)?;
            print(&until_stopped(poll::poll_known(&client, &args.cloud.environment, args.since.as_deref())).await?)
        }
        Command::Forget(args) => {
            let client = client(&args, TimeoutProfile::Short)?;
            let sentence = until_stopped(forget::forget(&client, &args.environment)).await?;
            writeln!(std::io::stdout(), "{sentence}")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Tick(args) => {
            let input = tick::read_input(std::io::stdin().lock())?;
            let client = client(&args, TimeoutProfile::Short)?;
            print(&until_stopped(tick::tick(&client, &args, &input)).await?)
        }
        Command::Check(args) => {
            let client = client(&args, TimeoutProfile::Short)?;
            let base_url = args.base_url.as_deref().unwrap_or_default();
            let line = |text: &str| drop(writeln!(std::io::stdout(), "{text}"));
            until_stopped(check::check(&client, base_url, &args.environment, line)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sync(args) => {
            let mut reporter = OutputReporter::from_environment(quiet)?;
            let work = async |reporter: &mut OutputReporter| {
                let client = client(&args.cloud, TimeoutProfile::Long)?;
                let is_strict = !reporter.is_dagster();
                sync::sync(&client, &args, is_strict, reporter).await
            };
            report_outcome(&mut reporter, None, work).await
        }
        Command::Mirror(args) => {
            let mut reporter = OutputReporter::from_environment(quiet)?;
            let job = reporter.job_nodes();
            let work = async |reporter: &mut OutputReporter| {
                let client = client(&args.cloud, TimeoutProfile::Long)?;
                let is_strict = !reporter.is_dagster();
                mirror::mirror(&client, &args, &job, is_strict, reporter).await
            };
            report_outcome(&mut reporter, Some("the remote run continues untouched"), work).await
        }
        Command::Serve(args) => serve::serve(args).await,
    }
}

/// Does `work`, which reports what it finds, and reports how that ended. `unaffected`: what an interruption does not touch.
///
/// Under Dagster the code is 0 whenever that could be reported: Python raises the failure.
///
/// # Errors
///
/// Under Dagster, that the channel is broken; at a terminal, whatever `work` fails with.
pub async fn report_outcome(
    reporter: &mut OutputReporter,
    unaffected: Option<&'static str>,
    work: impl AsyncFnOnce(&mut OutputReporter) -> Result<RunFinished>,
) -> Result<ExitCode> {
    let for_dagster = reporter.is_dagster();
    let outcome = tokio::select! {
        outcome = work(reporter) => outcome,
        stop = shutdown::requested(for_dagster) => stop.and_then(|_| Err(Interrupted { unaffected }.into())),
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
    // As a text first: a reader that closes stdout early is then an I/O error, which is no failure.
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)?;
    Ok(ExitCode::SUCCESS)
}
