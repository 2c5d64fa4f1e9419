//! The simulated cloud from outside: a real server on port 0, real requests, a real client.

mod simulator; // the server under test

mod client; // each call of the client, each fault
mod control;
mod faults;
mod runs;
