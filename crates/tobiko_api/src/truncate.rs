//! Long texts made short.
use std::borrow::Cow;

/// `text` in at most `max_bytes` bytes, cut in the middle at character boundaries: the start says what it is, the end what went wrong.
///
/// A note, which counts as well, says how many characters are left out. Below the note's own length, the result is the note.
pub fn truncate_middle(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    // The note's longest form, so that its length does not depend on the cut.
    let room = max_bytes.saturating_sub(note(text.len()).len());
    let head = text.floor_char_boundary(room / 2);
    let tail = text.ceil_char_boundary(text.len() - (room - room / 2));
    let left_out = text[head..tail].chars().count();
    Cow::Owned(format!("{}{}{}", &text[..head], note(left_out), &text[tail..]))
}

/// The beginning of a text from elsewhere, on one line, for a message.
pub fn excerpt(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(max_chars) {
            line.truncate(end);
            line.truncate(line.trim_end().len());
            line.push_str("...");
            break;
        }
    }
    line
}

fn note(characters: usize) -> String {
    format!("\n[... {characters} characters left out ...]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        fn check(text: &str, max_chars: usize, expected: &str) {
            assert_eq!(excerpt(text, max_chars), expected);
        }
        check("", 5, "");
        check("abc", 3, "abc");
        check("abcd", 3, "abc...");
        check(" a\n b\t c ", 9, "a b c");
        check("äöü€", 3, "äöü...");
        check("one two three", 8, "one two...");
        check("one two three", 5, "one t...");
    }

    #[test]
    fn short_texts_stay_as_they_are() {
        assert_eq!(truncate_middle("abc", 3), "abc");
        assert_eq!(truncate_middle("", 0), "");
    }

    #[test]
    fn long_texts_keep_their_ends_and_count_the_rest() {
        let text = format!("start{}end", "x".repeat(1_000));
        let short = truncate_middle(&text, 100);
        assert!(short.len() <= 100, "{}", short.len());
        assert!(short.starts_with("start") && short.ends_with("end"), "{short}");
        let kept = short.len() - short[short.find("\n[").unwrap()..=short.find("]\n").unwrap() + 1].len();
        assert!(short.contains(&format!("[... {} characters left out ...]", text.len() - kept)), "{short}");
    }

    #[test]
    fn characters_are_never_split() {
        for max_bytes in 40..140 {
            let short = truncate_middle(&"é🍣".repeat(200), max_bytes).into_owned();
            assert!(short.len() <= max_bytes.max(45), "{max_bytes}: {}", short.len());
        }
    }
}
