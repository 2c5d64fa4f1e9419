//! Messages that fit on a line of the channel: 15 KiB, since container runtimes cut lines at 16 KiB.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use crate::report::truncate::cut;

/// Longest message in bytes, as JSON, with what Pipes puts around it.
const LONGEST: usize = 15 * 1024;

/// Longest of what is told in one message. The rest is for what Pipes puts around it: version, method, names of the parameters.
pub const ROOM: usize = LONGEST - 256;

/// A text of which no more than this is left is not worth cutting again.
const MEAGRE: usize = 64;

/// Shortens `message` until it fits on a line: long texts are cut to one length, after very long lists have been cut.
/// Where that is not enough, things are left out.
pub fn fit(message: &mut Value) {
    if most(message) <= ROOM || written(message) <= ROOM {
        return;
    }
    loop {
        let too_long = written(&with_texts_cut(message, MEAGRE)).saturating_sub(ROOM);
        if too_long == 0 {
            break;
        }
        match longest_list(message) {
            Some(items) => items.truncate(items.len() / 2),
            None => leave_out(message, too_long),
        }
    }
    // Each text is cut once, from its whole: so the count of what was left out is true.
    let (mut fits, mut too_long) = (MEAGRE, ROOM);
    while too_long - fits > MEAGRE {
        let limit = (fits + too_long) / 2;
        match written(&with_texts_cut(message, limit)) <= ROOM {
            true => fits = limit,
            false => too_long = limit,
        }
    }
    *message = with_texts_cut(message, fits);
}

/// How many bytes `value` takes as JSON at most: judged without writing it.
fn most(value: &Value) -> usize {
    const SCALAR: usize = 32;
    let text = |text: &str| 6 * text.len() + 4;
    match value {
        Value::String(value) => text(value),
        Value::Array(items) => 2 + items.iter().map(|item| most(item) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(name, value)| text(name) + most(value)).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => SCALAR,
    }
}

fn with_texts_cut(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) => fitting(text, limit).into(),
        Value::Array(items) => items.iter().map(|item| with_texts_cut(item, limit)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_texts_cut(value, limit))).collect()
        }
        other => other.clone(),
    }
}

/// `text`, cut in the middle so that it takes no more than `limit` bytes as JSON. A limit below 64 counts as 64.
pub fn fitting(text: &str, limit: usize) -> Cow<'_, str> {
    let limit = limit.max(MEAGRE);
    let mut keep = limit;
    loop {
        let short = cut(text, keep);
        // Escapes take more room than what they stand for.
        let length = written(short.as_ref());
        if length <= limit {
            return short;
        }
        keep = (keep * limit / length).min(keep - 1);
    }
}

/// How many bytes `value` takes as JSON.
pub fn written(value: &(impl Serialize + ?Sized)) -> usize {
    // Writing to a counter cannot fail, and what is told here can always be written.
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

/// The longest list of plain values that may be halved.
fn longest_list(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(items) => match items.len() > 16 && !items.iter().any(Value::is_object) {
            true => Some(items),
            false => items.iter_mut().filter_map(longest_list).max_by_key(|items| items.len()),
        },
        Value::Object(fields) => fields.values_mut().filter_map(longest_list).max_by_key(|items| items.len()),
        _ => None,
    }
}

/// Leaves out the longest parts of `value`, as many as it takes to make it shorter by so many bytes.
fn leave_out(value: &mut Value, too_long: usize) {
    let mut lengths: Vec<(usize, usize)> = match value {
        Value::Array(items) => items.iter().map(written).enumerate().collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| written(name) + written(value)).enumerate().collect()
        }
        _ => return *value = Value::Null,
    };
    lengths.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let mut gone = 0;
    let mut out = HashSet::new();
    for (at, length) in lengths {
        if gone < too_long {
            gone += length;
            out.insert(at);
        }
    }
    let mut at = 0..;
    let mut stays = || at.next().is_some_and(|at: usize| !out.contains(&at));
    match value {
        Value::Array(items) => items.retain(|_| stays()),
        Value::Object(fields) => fields.retain(|_, _| stays()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(mut message: Value) -> Value {
        assert!(written(&message) <= most(&message), "{message:.300}");
        fit(&mut message);
        assert!(written(&message) <= ROOM, "{}", written(&message));
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
        assert!(reason.len() > 14_000, "cut too short: {}", reason.len());
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

    #[test]
    fn what_has_no_long_text_is_thinned_out() {
        check(json!((0..20_000).map(|n| (format!("f{n}"), json!(""))).collect::<serde_json::Map<_, _>>()));
        check(json!({"k".repeat(20_000): 1, "node": "a"}));
        check(json!(vec![json!({"a": [[[1, 2, 3], [4, 5]]]}); 2_000]));
    }

    #[test]
    fn of_several_long_texts_each_keeps_its_share() {
        let message = check(json!({"reason": "r".repeat(9_000), "warnings": ["w".repeat(9_000)]}));
        let lengths = [&message["reason"], &message["warnings"][0]].map(|text| text.as_str().unwrap().len());
        assert!(lengths.iter().all(|length| *length > 7_000), "{lengths:?}");
    }

    #[test]
    fn what_was_left_out_is_counted_from_the_whole() {
        let text = "🍣".repeat(300_000);
        let message = check(json!({"reason": text, "warnings": vec!["w".repeat(5_000); 9]}));
        let reason = message["reason"].as_str().unwrap();
        let kept = reason.chars().filter(|c| *c == '🍣').count();
        assert!(reason.contains(&format!("[... {} characters left out ...]", 300_000 - kept)), "{reason}");
    }
}
