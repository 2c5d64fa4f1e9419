//! Texts made short, so that each message fits on a line of the channel to Dagster: 15 KiB, since container runtimes cut lines at
//! 16 KiB. Every text has a fixed budget in bytes as JSON, and the budgets of a message add up to less than a line.

use std::borrow::Cow;

use serde::Serialize;
use tobiko_api::truncate_middle;

/// The name of a node, an asset or a check. A longer one is not cut: it would be another name.
pub const LONGEST_NAME: usize = 3 * 1024;

/// Why a task or a run ended as it did.
pub const LONGEST_REASON: usize = 8704;

/// How long the reason of a node's task may be: what its name takes of the line beyond its budget is missing here. With a name
/// of more than 11 KiB the line is too long all the same.
pub fn longest_reason_beside(node: &str) -> usize {
    LONGEST_REASON.saturating_sub(json_length(node).saturating_sub(LONGEST_NAME))
}

/// A longer link is left out: a part of it leads nowhere.
pub const LONGEST_LINK: usize = 1024;

/// A warning of a task, of which so many are sent at most.
pub const LONGEST_WARNING: usize = 512;
pub const MOST_WARNINGS: usize = 2;

/// A text in metadata.
pub const LONGEST_METADATA: usize = 1024;

/// The query of an audit: shorter than a reason, since a check's message has an asset's key and links, too.
pub const LONGEST_QUERY: usize = 4 * 1024;

/// An entry of Dagster's log.
pub const LONGEST_LOG_TEXT: usize = 7 * 1024;

/// Escapes take up to six bytes for one; a note about what is left out takes about as much room as this.
const SHORTEST: usize = 64;

/// `text`, cut in the middle so that it takes no more than `budget` bytes as JSON. A budget below 64 counts as 64.
pub fn truncate_middle_json(text: &str, budget: usize) -> Cow<'_, str> {
    let budget = budget.max(SHORTEST);
    // Nearly always it fits, and then it need not be measured.
    if 6 * text.len() + 2 <= budget {
        return Cow::Borrowed(text);
    }
    let mut keep = budget;
    loop {
        let short = truncate_middle(text, keep);
        let length = json_length(short.as_ref());
        if length <= budget {
            return short;
        }
        keep = (keep * budget / length).min(keep - 1);
    }
}

/// `link`, if there is one that is short enough.
pub fn short_link(link: Option<&str>) -> Option<&str> {
    link.filter(|link| !link.is_empty() && (6 * link.len() < LONGEST_LINK || json_length(*link) <= LONGEST_LINK))
}

/// How many bytes `value` takes as JSON.
pub fn json_length(value: &(impl Serialize + ?Sized)) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and texts can always be written.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// The first line of `text` that is not empty, for places that have one line.
pub fn first_line(text: &str) -> String {
    let first = text.split(['\n', '\r']).map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    truncate_middle(first, 300).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, budget: usize) -> String {
        let short = truncate_middle_json(text, budget).into_owned();
        assert!(json_length(&short) <= budget, "{}", json_length(&short));
        short
    }

    #[test]
    fn a_megabyte_is_cut_in_the_middle() {
        let reason = check(&format!("start{}end", "x".repeat(1 << 20)), LONGEST_REASON);
        assert!(reason.starts_with("start") && reason.ends_with("end"), "{reason}");
        assert!(reason.len() > LONGEST_REASON - 100, "cut too short: {}", reason.len());
    }

    #[test]
    fn escapes_and_characters_of_many_bytes_fit_too() {
        check(&"\u{1}\"\\\n".repeat(100_000), LONGEST_REASON);
        check(&"🍣é".repeat(100_000), LONGEST_WARNING);
    }

    #[test]
    fn what_was_left_out_is_counted_from_the_whole() {
        let reason = check(&"🍣".repeat(300_000), LONGEST_REASON);
        let kept = reason.chars().filter(|c| *c == '🍣').count();
        assert!(reason.contains(&format!("[... {} characters left out ...]", 300_000 - kept)), "{reason}");
    }

    #[test]
    fn a_link_is_whole_or_left_out() {
        assert_eq!(short_link(Some("http://a")), Some("http://a"));
        assert_eq!(short_link(Some("")), None);
        assert_eq!(short_link(Some(&"a".repeat(LONGEST_LINK))), None);
        assert!(short_link(Some(&"a".repeat(LONGEST_LINK - 2))).is_some());
    }
}
