//! `tobiko-facade tell-test-messages`, which no help shows: numbered messages through the real reporter, for the tests of the
//! channel to Dagster. They look like tasks that start: the node is the number, the link is filler, `at` is when it was written.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;

use crate::cli::TestMessagesArgs;
use crate::report::Reporter;
use crate::report::events::{Done, DoneAs, Event};

/// What a message takes without filler, about.
const BARE: usize = 160;

/// Tells `reporter` so many messages, in bursts with a pause after each.
pub async fn tell(args: &TestMessagesArgs, reporter: &mut impl Reporter) -> Result<Done> {
    ensure!(
        args.smallest <= args.largest && args.burst > 0,
        "the smallest message is larger than the largest, or a burst is empty"
    );
    for number in 0..args.count {
        // Two bytes each, so that a reader that cuts anywhere cuts characters too.
        let link = "ä".repeat(size(args, number).saturating_sub(BARE) / 2);
        reporter.tell(&Event::TaskStarted {
            node: number.to_string(),
            link: Some(link),
            at: Some(Timestamp::now()),
        })?;
        if (number + 1) % args.burst == 0 {
            tokio::time::sleep(Duration::from_millis(args.pause_ms)).await;
        }
    }
    Ok(Done { outcome: DoneAs::Success, run_id: None, reason: None, link: None, tasks: args.count, requests: 0 })
}

/// Bytes of a message: from the smallest to the largest, more small ones than large ones, the same each time.
fn size(args: &TestMessagesArgs, number: usize) -> usize {
    let (smallest, largest) = (args.smallest.max(1) as f64, args.largest.max(1) as f64);
    let share = (number * 7_919 % 10_007) as f64 / 10_006.0;
    (smallest * (largest / smallest).powf(share.powi(4))) as usize
}
