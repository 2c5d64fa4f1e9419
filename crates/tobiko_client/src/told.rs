//! Warnings about odd data, each said once: a run is looked at every few seconds, and its oddities stay.
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// So many different ones are kept; after that the data is odd throughout, and more lines would not help.
const MOST: usize = 200;

static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Logs a warning, unless this process has said the same already.
pub(crate) fn warn_once(message: String) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < MOST && !told.contains(&message) {
        tracing::warn!("{message}");
        told.insert(message);
    }
}

/// The beginning of a text from elsewhere, on one line, for a message.
pub(crate) fn beginning(text: &str, most_chars: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(most_chars) {
            line.truncate(end);
            line.truncate(line.trim_end().len());
            line.push_str("...");
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        fn check(text: &str, most_chars: usize, expected: &str) {
            assert_eq!(beginning(text, most_chars), expected);
        }
        check("", 5, "");
        check("abc", 3, "abc");
        check("abcd", 3, "abc...");
        check(" a\n b\t c ", 9, "a b c");
        check("äöü€", 3, "äöü...");
        check("one two three", 8, "one two...");
        check("one two three", 5, "one t...");
    }
}
