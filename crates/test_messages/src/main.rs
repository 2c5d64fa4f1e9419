//! `test-messages`: sends numbered messages through the executable's own reporter. The tests of the channel to Dagster launch it in
//! the executable's place; it is not part of the product.
//!
//! The messages look like tasks that start: the node is the number, the link is filler, `at` is when it was written.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use jiff::Timestamp;
use tobiko_facade::commands::report_outcome;
use tobiko_facade::exit_code;
use tobiko_facade::report::events::{Event, FinishedAs, RunFinished};
use tobiko_facade::report::{OutputReporter, Reporter};

/// Bytes of a message without filler, about.
const BARE: usize = 175;

/// Sends numbered messages to Dagster, or prints them.
#[derive(Debug, Parser)]
struct Args {
    /// How many messages
    #[arg(long)]
    count: usize,
    /// Bytes of the smallest message, about
    #[arg(long, default_value = "100")]
    smallest: usize,
    /// Bytes of the largest message, about
    #[arg(long, default_value = "15000")]
    largest: usize,
    /// Messages between two pauses
    #[arg(long, default_value = "1")]
    burst: usize,
    /// Length of a pause, in milliseconds
    #[arg(long, default_value = "0")]
    pause_ms: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start");
    exit_code::of(runtime.and_then(|runtime| {
        let outcome = runtime.block_on(async {
            let mut reporter = OutputReporter::from_environment(false)?;
            report_outcome(&mut reporter, None, async |reporter: &mut OutputReporter| send(&args, reporter).await).await
        });
        runtime.shutdown_background();
        outcome
    }))
}

/// Reports so many messages, in bursts with a pause after each.
async fn send(args: &Args, reporter: &mut impl Reporter) -> Result<RunFinished> {
    ensure!(
        args.smallest <= args.largest && args.burst > 0,
        "the smallest message is larger than the largest, or a burst is empty"
    );
    for number in 0..args.count {
        // Two bytes each, so that a reader that cuts anywhere cuts characters too.
        let link = "ä".repeat(size(args, number).saturating_sub(BARE) / 2);
        reporter.report(&Event::TaskStarted {
            node: number.to_string(),
            model_name: String::new(),
            link: Some(link),
            at: Some(Timestamp::now()),
            ended: false,
        })?;
        if (number + 1) % args.burst == 0 {
            tokio::time::sleep(Duration::from_millis(args.pause_ms)).await;
        }
    }
    Ok(RunFinished { tasks: args.count, ..RunFinished::new(FinishedAs::Success) })
}

/// Bytes of a message: from the smallest to the largest, more small ones than large ones, the same each time.
fn size(args: &Args, number: usize) -> usize {
    let (smallest, largest) = (args.smallest.max(1) as f64, args.largest.max(1) as f64);
    let share = (number * 7_919 % 10_007) as f64 / 10_006.0;
    (smallest * (largest / smallest).powf(share.powi(4))) as usize
}
