//! Retries while the cloud cannot be reached. The client retries one call for a while; this outlasts an outage.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit_code::sentence;
use crate::report::Reporter;
use crate::report::events::{Event, Level};

/// How long an outage may last, and how long to wait between two attempts.
#[derive(Debug, Clone, Copy)]
pub struct OutagePolicy {
    pub give_up_after: Duration,
    pub interval: Duration,
}

impl OutagePolicy {
    /// The result of `call`, which is repeated on outages. The reporter gets a warning when an outage begins, and a note when it ends.
    ///
    /// # Errors
    ///
    /// The outage lasts for too long, or the failure is another one.
    pub async fn retry<T>(&self, reporter: &mut impl Reporter, call: impl AsyncFn() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let mut warned = false;
        loop {
            let error = match call().await {
                Ok(result) => {
                    if warned {
                        let away = began.elapsed().as_secs();
                        reporter.report(&Event::Log(
                            Level::Info,
                            format!("the cloud can be reached again, after {away} s"),
                        ))?;
                    }
                    return Ok(result);
                }
                Err(error) => error,
            };
            if !is_outage(&error) || began.elapsed() >= self.give_up_after {
                return Err(error);
            }
            if !warned {
                warned = true;
                let text = format!("{}; retrying for up to {} s", sentence(&error), self.give_up_after.as_secs());
                reporter.report(&Event::Log(Level::Warning, text))?;
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}

fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<tobiko_client::Error>()).any(tobiko_client::Error::is_outage)
}
