//! Exit codes, and which failure gets which.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use tobiko_client::Error;

pub const OTHER: u8 = 1;
pub const USAGE: u8 = 2;
pub const UNREACHABLE: u8 = 3;
pub const AUTHENTICATION_FAILED: u8 = 4;
pub const NOT_FOUND: u8 = 5;
pub const RUN_FAILED: u8 = 6;
pub const INTERRUPTED: u8 = 130;

/// What was typed, or stands in the environment, cannot work.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What was requested is not there.
#[derive(Debug)]
pub struct NotFound(pub String);

/// A person, or the process that supervises this one, requested a stop.
#[derive(Debug, Default)]
pub struct Interrupted {
    /// What goes on all the same, where that may be in doubt.
    pub unaffected: Option<&'static str>,
}

/// Nothing can be reported to Dagster any more, but by the exit code.
#[derive(Debug)]
pub struct ChannelBroken;

impl fmt::Display for ChannelBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write to the channel to Dagster")
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unaffected {
            Some(what) => write!(f, "interrupted; {what}"),
            None => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Usage {}
impl std::error::Error for NotFound {}
impl std::error::Error for Interrupted {}

/// The code of a command's outcome. A failure is printed to stderr, in one sentence.
pub fn of(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", sentence(&error));
            code(&error)
        }
    }
}

/// The code for a failure, by the first cause that has one.
pub fn code(error: &anyhow::Error) -> ExitCode {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| match cause {
        cause if cause.is::<Usage>() => Some(USAGE),
        cause if cause.is::<NotFound>() => Some(NOT_FOUND),
        cause if cause.is::<Interrupted>() => Some(INTERRUPTED),
        cause => cause.downcast_ref::<Error>().map(of_client),
    };
    ExitCode::from(error.chain().find_map(of_cause).unwrap_or(OTHER))
}

fn of_client(error: &Error) -> u8 {
    match error {
        Error::Unreachable { .. } => UNREACHABLE,
        Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => AUTHENTICATION_FAILED,
        Error::UnexpectedResponse { .. } => NOT_FOUND,
        Error::Config(_) => USAGE,
        Error::BadRequest { .. } => OTHER,
    }
}

/// The sentence for a failure: what was being tried, then the cause; each part once.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.iter().any(|part| part.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

/// The reader of stdout is gone: a normal end, but for the channel to Dagster.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    if error.is::<ChannelBroken>() {
        return false;
    }
    let kind =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
