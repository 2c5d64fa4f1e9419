//! How long texts may be, and what stands for them in a table.

pub(crate) use tobiko_api::truncate_middle;

/// Longest log or message that is kept, in bytes.
pub(crate) const MAX_STORED: usize = 256 * 1024;

/// Longest log or message on a page, in bytes.
pub(crate) const MAX_SHOWN: usize = 64 * 1024;

/// The first line, for tables; at most `max_chars` characters.
pub(crate) fn first_line(text: &str, max_chars: usize) -> String {
    short(text.trim().lines().next().unwrap_or_default(), max_chars)
}

/// The line that says most: of Python's tracebacks the last one, else the first.
pub(crate) fn headline(text: &str, max_chars: usize) -> String {
    let text = text.trim();
    if text.starts_with("Traceback (") || text.starts_with("File ") {
        short(text.lines().next_back().unwrap_or_default().trim_start(), max_chars)
    } else {
        first_line(text, max_chars)
    }
}

fn short(line: &str, max_chars: usize) -> String {
    match line.char_indices().nth(max_chars) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
