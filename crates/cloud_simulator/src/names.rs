//! Node names as people write them, and patterns for names.

/// The node's name without quotes.
pub(crate) fn unquoted(name: &str) -> String {
    name.replace('"', "")
}

/// Whether `text` fits `pattern`, in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        };
        check("a.b", "a.b", true);
        check("a.b", "a.bc", false);
        check("*", "", true);
        check("a.*.c", "a.b.b.c", true);
        check("a.*.c", "a.c", false);
        check("*ü*", "grün", true);
        check("/api/*/runs", "/api/v1/runs/r1", false);
    }
}
