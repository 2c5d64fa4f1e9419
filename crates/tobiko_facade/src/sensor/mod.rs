//! The sensor's decisions. Python gathers what Dagster knows and hands over what is decided here.
//!
//! `messages` is what the two say to each other, `cursor` what is remembered between ticks, `new_runs` and `plans` what the cloud
//! has to say, `unchanged` whether a run needs no reload; `decide` is pure.

pub mod cursor;
pub mod decide;
pub mod messages;
pub mod new_runs;
pub mod plans;
pub mod unchanged;
