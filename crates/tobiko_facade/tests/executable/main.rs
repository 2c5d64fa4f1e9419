//! The executable from outside: a real process against a real local cloud over real sockets.

#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

mod cloud;
mod process;
mod scripted;

mod answers;
mod exit_codes;
mod login;
mod pipes;
mod proxy;
mod scenario;
mod serve;
