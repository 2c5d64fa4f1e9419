//! The local cloud from outside: a real server on port 0, real requests.

mod cloud; // the server under test
mod story; // what a recorder would send

mod dags;
mod evaluations;
mod pages;
mod recorder;
mod runs;
mod shutdown;
mod stale;
mod token;
