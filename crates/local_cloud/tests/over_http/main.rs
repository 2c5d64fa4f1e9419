//! The local cloud from outside: a real server on port 0, real requests.

mod cloud; // the server under test
mod events; // what a recorder would send

mod auth;
mod dags;
mod environments;
mod evaluations;
mod heartbeat;
mod pages;
mod plans;
mod projects;
mod recorder;
mod runs;
mod shutdown;
