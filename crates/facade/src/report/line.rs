//! Messages that fit on a line of the channel: 15 KiB, since container runtimes cut lines at 16 KiB.

use serde_json::Value;

use crate::text::cut;

/// Longest message in bytes, as JSON, with what Pipes puts around it.
pub const LONGEST: usize = 15 * 1024;

/// Room for what Pipes puts around a message: version, method, names of the parameters.
const AROUND: usize = 256;

/// Shortens the longest texts in `message` until it fits on a line. Lists go before texts that are short already.
pub fn fit(message: &mut Value) {
    while length(message) > LONGEST - AROUND {
        let too_long = length(message) - (LONGEST - AROUND);
        let Some(longest) = longest(message) else { return };
        match longest {
            Value::String(text) => {
                // Escapes make the line longer than the text: take off at least in proportion.
                let written = length(&Value::String(text.clone())).max(1);
                let keep = text.len().saturating_sub((too_long * text.len()).div_ceil(written));
                let shorter = cut(text, keep.min(text.len() / 2).max(MEAGRE)).into_owned();
                match shorter.len() < text.len() {
                    true => *text = shorter,
                    false => text.clear(),
                }
            }
            Value::Array(items) => items.truncate(items.len() / 2),
            _ => return,
        }
    }
}

/// A text that is no longer than this is not worth cutting.
const MEAGRE: usize = 64;

fn length(value: &Value) -> usize {
    // Writing to a counter cannot fail, and a `Value` can always be written.
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
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => 0,
    }
}

/// The text, or the list of plain values, that takes most room in `value`.
fn longest(value: &mut Value) -> Option<&mut Value> {
    let is_leaf = match value {
        Value::String(_) => true,
        Value::Array(items) => items.iter().all(|item| !item.is_object()) && items.len() > 16,
        Value::Object(_) => false,
        _ => return None,
    };
    if is_leaf {
        return Some(value);
    }
    let children: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(fields) => Box::new(fields.values_mut()),
        _ => return None,
    };
    children.filter_map(longest).max_by_key(|leaf| length(leaf))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(mut message: Value) -> Value {
        fit(&mut message);
        assert!(length(&message) <= LONGEST - AROUND, "{}", length(&message));
        message
    }

    #[test]
    fn what_fits_stays() {
        let message = json!({"node": "a", "reason": "b", "warnings": []});
        assert_eq!(check(message.clone()), message);
    }

    #[test]
    fn a_megabyte_is_cut_in_the_middle_and_the_rest_stays() {
        let message = check(
            json!({"node": "\"wh\".\"a\"", "reason": format!("start{}end", "x".repeat(1 << 20)), "link": "http://l"}),
        );
        assert_eq!(message["node"], "\"wh\".\"a\"");
        assert_eq!(message["link"], "http://l");
        let reason = message["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("start") && reason.ends_with("end") && reason.contains("characters left out"),
            "{reason}"
        );
        assert!(reason.len() > 4_000, "cut too short: {}", reason.len());
    }

    #[test]
    fn escapes_and_many_bytes_fit_too() {
        check(json!({"reason": "\u{1}\"\\\n".repeat(100_000)}));
        check(json!({"reason": "🍣é".repeat(100_000)}));
        check(json!({"warnings": vec!["w".repeat(5_000); 9]}));
    }

    #[test]
    fn long_lists_are_cut() {
        let message =
            check(json!({"evaluation_ids": (0..5_000).map(|n| format!("{n:032}")).collect::<Vec<_>>(), "node": "a"}));
        assert_eq!(message["node"], "a");
        assert!(!message["evaluation_ids"].as_array().unwrap().is_empty());
    }
}
