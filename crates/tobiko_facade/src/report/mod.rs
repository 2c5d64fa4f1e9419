//! Telling what happened: to Dagster when Dagster launched this process, else to the person at the terminal.

pub mod events;
pub mod line;
mod pipes;
mod terminal;
pub mod truncate;

use anyhow::Result;

use events::Event;

pub use pipes::Pipes;
pub use terminal::Terminal;

/// Tells events, one after the other. An error means that nobody hears any more.
pub trait Reporter {
    fn tell(&mut self, event: &Event) -> Result<()>;
}

/// The reporter for whoever launched this process.
pub enum Audience {
    Dagster(Box<Pipes>),
    Person(Terminal),
}

impl Audience {
    /// Dagster, if it left word in the environment how to reach it; else the terminal.
    pub fn find() -> Result<Self> {
        match Pipes::from_environment()? {
            Some(pipes) => Ok(Self::Dagster(Box::new(pipes))),
            None => Ok(Self::Person(Terminal::default())),
        }
    }

    /// The names of the nodes that Dagster's job knows; a person knows none.
    pub fn job_nodes(&self) -> Vec<String> {
        match self {
            Self::Dagster(pipes) => pipes.job_nodes(),
            Self::Person(_) => Vec::new(),
        }
    }

    pub fn is_dagster(&self) -> bool {
        matches!(self, Self::Dagster(_))
    }
}

impl Reporter for Audience {
    fn tell(&mut self, event: &Event) -> Result<()> {
        match self {
            Self::Dagster(pipes) => pipes.tell(event),
            Self::Person(terminal) => terminal.tell(event),
        }
    }
}
