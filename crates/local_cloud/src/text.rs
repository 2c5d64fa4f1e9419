//! Long texts, cut in the middle: the beginning says what was done, the end how it went.

use std::borrow::Cow;

/// Longest log or message that is kept, in bytes.
pub(crate) const LONGEST_STORED: usize = 256 * 1024;

/// Longest log or message on a page, in bytes.
pub(crate) const LONGEST_SHOWN: usize = 64 * 1024;

/// Room for the line that says how much is missing.
const NOTE: usize = 64;

/// At most `longest` bytes of `text`, cut between characters, with the count of characters that were left out.
pub(crate) fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let half = longest.saturating_sub(NOTE) / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    let left_out = text[head.len()..text.len() - tail.len()].chars().count();
    Cow::Owned(format!("{head}\n[... {left_out} characters left out ...]\n{tail}"))
}

/// The first line, for tables; at most `longest` characters.
pub(crate) fn first_line(text: &str, longest: usize) -> String {
    short(text.trim().lines().next().unwrap_or_default(), longest)
}

/// The line that says most: of Python's tracebacks the last one, else the first.
pub(crate) fn headline(text: &str, longest: usize) -> String {
    let text = text.trim();
    match text.starts_with("Traceback (") || text.starts_with("File ") {
        true => short(text.lines().next_back().unwrap_or_default().trim_start(), longest),
        false => first_line(text, longest),
    }
}

fn short(line: &str, longest: usize) -> String {
    match line.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay() {
        assert_eq!(cut("abc", 3), "abc");
    }

    #[test]
    fn long_texts_keep_both_ends_and_count_the_rest() {
        let text = format!("begin{}end", "x".repeat(1000));
        let short = cut(&text, 264);
        assert!(short.len() <= 264, "{}", short.len());
        assert!(short.starts_with("begin") && short.ends_with("end"));
        assert!(short.contains("[... 808 characters left out ...]"), "{short}");
    }

    #[test]
    fn characters_stay_whole_and_are_counted_as_such() {
        for longest in 80..100 {
            let text = "aß水🦀".repeat(100);
            let short = cut(&text, longest);
            let kept = short.lines().next().map_or(0, |line| line.chars().count())
                + short.lines().last().map_or(0, |line| line.chars().count());
            assert!(short.len() <= longest);
            assert!(short.contains(&format!("[... {} characters", 400 - kept)));
        }
    }

    #[test]
    fn first_lines() {
        assert_eq!(first_line("\n one\ntwo", 10), "one");
        assert_eq!(first_line("wwwüü", 4), "wwwü…");
        assert_eq!(first_line("", 4), "");
    }

    #[test]
    fn headlines() {
        assert_eq!(headline("no such table\nSELECT", 20), "no such table");
        assert_eq!(headline("Traceback (most recent call last):\n  x\n  KeyError: 1\n", 20), "KeyError: 1");
    }
}
