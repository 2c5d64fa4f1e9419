//! Reports what happened: to Dagster when Dagster launched this process, else to the person at the terminal.

pub mod events;
mod pipes;
mod terminal;
pub mod truncate;

use anyhow::Result;

use events::Event;

pub use pipes::Pipes;
pub use terminal::Terminal;

/// Where events go, one after the other.
pub trait Reporter {
    /// # Errors
    ///
    /// The other end is gone.
    fn report(&mut self, event: &Event) -> Result<()>;
}

/// The reporter for whoever launched this process, chosen at start.
pub enum OutputReporter {
    Pipes(Box<Pipes>),
    Terminal(Terminal),
}

impl OutputReporter {
    /// Dagster Pipes, if the environment names a channel; else the terminal.
    ///
    /// `quiet`: the terminal gets nothing but errors.
    pub fn from_environment(quiet: bool) -> Result<Self> {
        match Pipes::from_environment()? {
            Some(pipes) => Ok(Self::Pipes(Box::new(pipes))),
            None => Ok(Self::Terminal(Terminal::new(quiet))),
        }
    }

    /// The names of the nodes that Dagster's job has; none at a terminal.
    pub fn job_nodes(&self) -> Vec<String> {
        match self {
            Self::Pipes(pipes) => pipes.job_nodes(),
            Self::Terminal(_) => Vec::new(),
        }
    }

    pub fn is_dagster(&self) -> bool {
        matches!(self, Self::Pipes(_))
    }
}

impl Reporter for OutputReporter {
    fn report(&mut self, event: &Event) -> Result<()> {
        match self {
            Self::Pipes(pipes) => pipes.report(event),
            Self::Terminal(terminal) => terminal.report(event),
        }
    }
}
