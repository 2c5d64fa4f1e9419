//! Long texts, cut in the middle: the start says what it is, the end says what went wrong.

use std::borrow::Cow;

/// `text` in at most `limit` bytes (a little note included), cut in the middle at character boundaries.
///
/// The note says how many characters are left out. A limit below the note's own length is the note's length.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    // The note's longest form, so that its length does not depend on the cut.
    let room = limit.saturating_sub(note(text.len()).len());
    let head = text.floor_char_boundary(room / 2);
    let tail = text.ceil_char_boundary(text.len() - (room - room / 2));
    let left_out = text[head..tail].chars().count();
    Cow::Owned(format!("{}{}{}", &text[..head], note(left_out), &text[tail..]))
}

/// The first line of `text` that says something, for places that have one line.
pub fn one_line(text: &str) -> String {
    let first = text.split(['\n', '\r']).map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    cut(first, 300).replace('\n', " ")
}

fn note(characters: usize) -> String {
    format!("\n[... {characters} characters left out ...]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_as_they_are() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn long_texts_keep_their_ends_and_count_the_rest() {
        let text = format!("start{}end", "x".repeat(1_000));
        let short = cut(&text, 100);
        assert!(short.len() <= 100, "{}", short.len());
        assert!(short.starts_with("start") && short.ends_with("end"), "{short}");
        let kept = short.len() - short[short.find("\n[").unwrap()..=short.find("]\n").unwrap() + 1].len();
        assert!(short.contains(&format!("[... {} characters left out ...]", text.len() - kept)), "{short}");
    }

    #[test]
    fn characters_are_never_split() {
        for limit in 40..140 {
            let short = cut(&"é🍣".repeat(200), limit).into_owned();
            assert!(short.len() <= limit.max(45), "{limit}: {}", short.len());
        }
    }
}
