//! Names for Dagster out of the cloud's: key parts, op names, check names, and what makes two of them differ.
//! Which asset, op or check gets which name is the manifest's business.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Longest op or check name: it ends up in file names, which stop at 255 bytes.
pub const LONGEST_NAME: usize = 200;

/// So much of an audit's arguments is in a check's name.
const LONGEST_WORDS: usize = 40;

/// Hexadecimal digits in a suffix. Where names with as many are still the same, more are taken.
const DIGITS: usize = 8;

/// Names that Dagster refuses for ops and for their inputs, Python's keywords among them.
#[rustfmt::skip]
pub const RESERVED: &[&str] = &[
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict",
    "int", "str", "float", "bool", "input", "output", "result", "type",
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// The parts of a node's name, as the public client's parser sees them: catalog, schema, name.
///
/// A name of more than three parts keeps them all. A name that is no dotted identifier at all is split at its dots; never empty.
pub fn key_parts(name: &str) -> Vec<String> {
    let parts = match identifiers(name) {
        Some(parts) => parts,
        None if name.ends_with('.') => Vec::new(),
        None => name.split('.').map(str::to_owned).collect(),
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if !parts.is_empty() {
        parts
    } else if name.trim().is_empty() {
        vec!["unnamed".to_owned()]
    } else {
        vec![name.to_owned()]
    }
}

/// The op's name for an asset key (or, for a standalone audit, for the parts of its name).
///
/// ASCII letters, digits and `_`. What may not stay as it is gets the suffix of `full_name`.
pub fn op_name(parts: &[String], full_name: &str) -> String {
    let kept: Vec<String> = parts.iter().map(|part| part.chars().filter(|c| is_word(*c)).collect()).collect();
    let lost_a_part = kept.iter().any(String::is_empty);
    let name = kept.join("_");
    if lost_a_part || RESERVED.contains(&name.as_str()) || name.len() > LONGEST_NAME {
        with_suffix(&name, full_name, DIGITS)
    } else {
        name
    }
}

/// The check's name for an audit: ASCII letters, digits, `_` and `.`.
pub fn check_name(audit: &str) -> String {
    let name: String = audit.chars().filter(|c| is_word(*c) || *c == '.').collect();
    if name.is_empty() || RESERVED.contains(&name.as_str()) || name.len() > LONGEST_NAME {
        with_suffix(&name, audit, DIGITS)
    } else {
        name
    }
}

/// The check's name for an audit that the model has with other arguments, too: it depends on the audit and the arguments alone.
/// Their words are in it for people, and what differs in more than words differs in the suffix.
pub fn check_name_with_arguments(audit: &str, arguments: &str) -> String {
    let words = arguments.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let mut name = check_name(audit);
    let longest = name.len() + LONGEST_WORDS;
    for word in words {
        if name.len() + 1 + word.len() > longest {
            break;
        }
        name = format!("{name}_{word}");
    }
    with_suffix(&name, &format!("{audit:?} {arguments:?}"), DIGITS)
}

/// `name` with so many hexadecimal digits, which depend on `full_name` alone.
pub fn with_suffix(name: &str, full_name: &str, digits: usize) -> String {
    let suffix = &digest(full_name)[..digits];
    let name = name.trim_matches('_');
    let kept = &name[..name.floor_char_boundary(LONGEST_NAME - 1 - digits)];
    match kept {
        "" => format!("node_{suffix}"),
        kept => format!("{kept}_{suffix}"),
    }
}

/// Makes equal names differ: each of them gets the suffix of its own full name, whatever order they come in.
///
/// `entries` are (name, full name); the full names must differ. `suffixed` makes a name from a name, its full name and the
/// number of digits. A name that only looks as if it had a suffix is no exception: what it equals gets a longer one.
pub fn distinct<N: Clone + Eq + Hash>(entries: &[(N, &str)], suffixed: impl Fn(&N, &str, usize) -> N) -> Vec<N> {
    let mut names: Vec<N> = entries.iter().map(|(name, _)| name.clone()).collect();
    let mut digits = vec![0; entries.len()];
    loop {
        let mut seen: HashMap<&N, usize> = HashMap::new();
        for name in &names {
            *seen.entry(name).or_default() += 1;
        }
        let same: Vec<usize> =
            (0..names.len()).filter(|at| seen[&names[*at]] > 1 && digits[*at] < 2 * Sha256::output_size()).collect();
        if same.is_empty() {
            return names;
        }
        for at in same {
            digits[at] += DIGITS;
            names[at] = suffixed(&entries[at].0, entries[at].1, digits[at]);
        }
    }
}

/// SHA-256 in hexadecimal digits.
pub fn digest(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

/// The same of a value's JSON, which is not held as a whole.
pub fn digest_of_json(value: &impl Serialize) -> String {
    let mut hash = Sha256::new();
    // Hashing does not fail, and what is hashed here can always be written.
    let _ = serde_json::to_writer(&mut hash, value);
    hexadecimal(&hash.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The parts of a dotted identifier in SQLGlot's default dialect, or `None` where it is something else.
fn identifiers(name: &str) -> Option<Vec<String>> {
    let mut rest = skip_blanks(name);
    let mut parts = Vec::new();
    loop {
        let first = rest.chars().next()?;
        let (part, after) = match first {
            '"' | '\'' => quoted(rest, first)?,
            // A parameter or placeholder: its own name is the part, what a dot adds to a parameter replaces it.
            '@' if parts.is_empty() => {
                let (word, after) = word(&rest[1..])?;
                match skip_blanks(after).strip_prefix('.') {
                    Some(after) => word_or_quoted(skip_blanks(after))?,
                    None => (word, after),
                }
            }
            ':' if parts.is_empty() => word(&rest[1..])?,
            _ => word(rest)?,
        };
        parts.push(part);
        rest = skip_blanks(after);
        match rest.chars().next() {
            None => return Some(parts),
            Some('.') => rest = skip_blanks(&rest[1..]),
            Some(';') if skip_blanks(&rest[1..]).is_empty() => return Some(parts),
            // A function of one text, such as read_csv('x.csv'), names no table: no part is left of it.
            Some('(') if parts.len() == 1 => {
                let (_, after) = quoted(skip_blanks(&rest[1..]), '\'')?;
                return (skip_blanks(after) == ")").then(Vec::new);
            }
            Some(_) => return None,
        }
    }
}

fn word_or_quoted(text: &str) -> Option<(String, &str)> {
    match text.chars().next()? {
        quote @ ('"' | '\'') => quoted(text, quote),
        _ => word(text),
    }
}

/// A quoted text at the start of `text`, where a doubled quote stands for one, and what follows it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut chars = text.strip_prefix(quote)?.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            part.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            part.push(quote);
        } else {
            return Some((part, &text[at + 2 * quote.len_utf8()..]));
        }
    }
    None
}

/// An unquoted identifier at the start of `text`, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || (!c.is_ascii() && !c.is_whitespace())));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (!word.is_empty()).then(|| (word.to_owned(), rest))
}

/// `text` without the white space and comments that it starts with.
fn skip_blanks(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.find('\n').map_or("", |end| &comment[end..]).trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[&str]) {
        assert_eq!(key_parts(name), expected, "{name}");
    }

    #[test]
    fn dotted_names_are_catalog_schema_name() {
        check("orders", &["orders"]);
        check("\"wh\".\"shop\".\"orders\"", &["wh", "shop", "orders"]);
        check(" \"a\" . b\n.c ", &["a", "b", "c"]);
        check("\u{a0}a.b", &["a", "b"]);
        check("a.b -- comment", &["a", "b"]);
        check("a.b;", &["a", "b"]);
    }

    #[test]
    fn quotes_keep_what_they_hold() {
        check("\"a.b\".\"c.d\".\"e f\"", &["a.b", "c.d", "e f"]);
        check("\"x\"\"y\"", &["x\"y"]);
        check("'s3://bucket/file.parquet'", &["s3://bucket/file.parquet"]);
        check("\"a\".'b'", &["a", "b"]);
    }

    #[test]
    fn more_than_three_parts_are_all_kept() {
        check("\"srv\".\"db\".\"dbo\".\"t\"", &["srv", "db", "dbo", "t"]);
        check("a.b.c.d.e", &["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_no_identifier_is_split_at_its_dots() {
        check("`my-project.dataset.table`", &["`my-project", "dataset", "table`"]);
        check("sushi.orders o", &["sushi", "orders o"]);
        check("db..orders", &["db", "orders"]);
        check("order-items", &["order-items"]);
        check("a\\b", &["a\\b"]);
    }

    #[test]
    fn no_name_is_left_without_a_part() {
        check("", &["unnamed"]);
        check("\"\".\"\"", &["\"\".\"\""]);
        check("sushi.orders.", &["sushi.orders."]);
        check("read_csv('x.csv')", &["read_csv('x.csv')"]);
    }

    /// Every case that the public client's parser was asked about, where the table of them is at hand.
    #[test]
    fn parts_are_those_of_the_public_clients_parser() {
        let table = include_str!("../../testdata/table_names.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(table).unwrap();
        assert!(cases.len() >= 100);
        for case in cases {
            let name = case["name"].as_str().unwrap();
            let texts = |field: &str| -> Vec<String> {
                case[field].as_array().into_iter().flatten().map(|p| p.as_str().unwrap().to_owned()).collect()
            };
            let (parts, all_parts) = (texts("parts"), texts("all_parts"));
            let expected = if all_parts.len() > 3 && !all_parts.contains(&String::new()) { all_parts } else { parts };
            // Without a part, or refused by that parser: the name itself, so that the model has an asset all the same.
            if expected.is_empty() {
                assert!(!key_parts(name).is_empty(), "{name:?}");
            } else {
                assert_eq!(key_parts(name), expected, "{name:?}");
            }
        }
    }

    #[test]
    fn op_names_drop_what_dagster_refuses() {
        let op = |parts: &[&str]| op_name(&parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), "full");
        assert_eq!(op(&["wh", "shop", "orders"]), "wh_shop_orders");
        assert_eq!(op(&["my-wh", "or ders/x"]), "mywh_ordersx");
        assert_eq!(op(&["context"]), with_suffix("context", "full", DIGITS));
        assert_eq!(op(&["数据", "表"]), with_suffix("", "full", DIGITS));
        assert!(op(&["x".repeat(300).as_str()]).len() <= LONGEST_NAME);
    }

    #[test]
    fn check_names_keep_dots() {
        assert_eq!(check_name("not_null"), "not_null");
        assert_eq!(check_name("my-audit of.mine"), "myauditof.mine");
        assert_eq!(check_name("检查"), with_suffix("", "检查", DIGITS));
    }

    #[track_caller]
    fn check_distinct(entries: &[(&str, &str)], expected: &[String]) {
        let entries: Vec<(String, &str)> = entries.iter().map(|(name, full)| ((*name).to_owned(), *full)).collect();
        assert_eq!(distinct(&entries, |name, full, digits| with_suffix(name, full, digits)), expected);
    }

    #[test]
    fn equal_names_all_get_a_suffix_of_their_own() {
        check_distinct(
            &[("a", "1"), ("b", "2"), ("a", "3")],
            &[with_suffix("a", "1", DIGITS), "b".to_owned(), with_suffix("a", "3", DIGITS)],
        );
        check_distinct(&[("a", "3")], &["a".to_owned()]);
    }

    #[test]
    fn a_name_that_looks_like_one_with_a_suffix_gets_another_one() {
        let taken = with_suffix("a", "1", DIGITS);
        check_distinct(
            &[("a", "1"), ("a", "2"), (&taken, "3")],
            &[with_suffix("a", "1", 2 * DIGITS), with_suffix("a", "2", DIGITS), with_suffix(&taken, "3", DIGITS)],
        );
    }
}
