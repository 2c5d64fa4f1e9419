//! Any text can be cut.

use proptest::prelude::*;

use crate::report::truncate::{first_line, json_length, truncate_middle_json};
use tobiko_api::truncate_middle;

proptest! {
    #[test]
    fn a_cut_text_keeps_its_ends_and_says_how_much_is_gone(
        text in prop_oneof!["\\PC{0,60}", "[ab🍣éß\n]{0,400}", any::<String>()],
        limit in 0_usize..300,
    ) {
        let short = truncate_middle(&text, limit);
        if text.len() <= limit {
            prop_assert_eq!(short.as_ref(), text.as_str());
            return Ok(());
        }
        // Nothing is shorter than the note itself.
        prop_assert!(short.len() <= limit.max("\n[... 1234 characters left out ...]\n".len()), "{}", short.len());
        let (head, rest) = short.rsplit_once("\n[... ").unwrap();
        let (count, tail) = rest.split_once(" characters left out ...]\n").unwrap();
        prop_assert!(text.starts_with(head) && text.ends_with(tail));
        let gone = text.chars().count() - head.chars().count() - tail.chars().count();
        prop_assert_eq!(count.parse::<usize>().unwrap(), gone);
    }

    #[test]
    fn any_text_fits_into_its_budget(
        text in ("[ä🍣\"\\\\\u{1}x\n ]{0,5}", 1_usize..4_000).prop_map(|(text, times)| text.repeat(times)),
        budget in 64_usize..20_000,
    ) {
        let short = truncate_middle_json(&text, budget);
        prop_assert!(json_length(short.as_ref()) <= budget);
        if json_length(text.as_str()) <= budget && text.len() <= budget {
            prop_assert_eq!(short.as_ref(), text.as_str());
        }
    }

    #[test]
    fn a_first_line_is_one_line(text in "[ab🍣 \r\n\u{85}\u{2028}]{0,400}") {
        let line = first_line(&text);
        prop_assert!(!line.contains(['\n', '\r']) && line.len() <= 300, "{line:?}");
        prop_assert_eq!(line.is_empty(), text.trim().is_empty());
    }
}
