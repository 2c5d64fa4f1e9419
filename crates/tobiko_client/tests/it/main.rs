//! The client against real sockets: scripted servers on port 0, no mocks. Each test names the fact that it shows.
#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; clippy.toml excepts only the functions that are marked as such"
)]

mod cloud;
mod wire_tap;

mod calls;
mod faults;
mod limits;
mod local_cloud;
mod login;
mod network;
mod redirects;
mod secrets;
mod tokens;
