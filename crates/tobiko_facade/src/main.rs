//! The executable: reads the command line, sets up logs and the runtime, runs one command, and turns its failure into a
//! sentence and an exit code.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use tobiko_facade::cli::{Cli, Command};
use tobiko_facade::{commands, exit_code};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => help.exit(),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(exit_code::USAGE);
        }
    };
    start_logging(&cli);
    let is_server = matches!(&cli.command, Command::Serve(_));
    // One thread is enough for a client; the server has many of them.
    let mut runtime = if is_server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let outcome = runtime.enable_all().build().context("cannot start").and_then(|runtime| {
        let outcome = runtime.block_on(commands::run(cli.command, cli.quiet));
        if !is_server {
            // A process that was asked to stop does so at once: a pending name look-up would take its seconds.
            runtime.shutdown_background();
        }
        outcome
    });
    exit_code::of(outcome)
}

fn start_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,tobiko_client=debug,tobiko_facade=debug,local_cloud=debug,cloud_simulator=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}
