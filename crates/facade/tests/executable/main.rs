//! The executable from outside: a real process against a real local cloud over real sockets.

mod cloud;
mod process;

mod answers;
mod exit_codes;
mod pipes;
