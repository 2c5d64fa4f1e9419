//! Asks again while the cloud is away. The client repeats one call for a while; this outlasts an outage.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exit_code::sentence;
use crate::report::Reporter;
use crate::report::events::{Event, Level};

/// How long an outage may last, and how often to ask meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Insistence {
    pub give_up_after: Duration,
    pub interval: Duration,
}

impl Insistence {
    /// The answer to `ask`, which is repeated on outages; any other failure ends it at once.
    pub async fn ask<T>(&self, reporter: &mut impl Reporter, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let mut warned = false;
        loop {
            let error = match ask().await {
                Ok(answer) => {
                    if warned {
                        let away = began.elapsed().as_secs();
                        reporter.tell(&Event::Note(Level::Info, format!("the cloud answers again, after {away} s")))?;
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !is_outage(&error) || began.elapsed() >= self.give_up_after {
                return Err(error);
            }
            if !warned {
                warned = true;
                let text = format!("{}; asking again for up to {} s", sentence(&error), self.give_up_after.as_secs());
                reporter.tell(&Event::Note(Level::Warning, text))?;
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}

fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<tobiko_client::Error>()).any(tobiko_client::Error::is_outage)
}
