//! Reads the records of a list while the response arrives, so that a large one is never held as a whole.
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error as JsonError};

use crate::excerpt;
use crate::warn::warn_once;

/// How much of a response is kept, to name what it was in an error.
const BEGINNING: usize = 4096;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a list is made of.
pub trait Record: DeserializeOwned {
    /// What a person calls it.
    const KIND: &'static str;
    /// It has what identifies it; without that it is of no use.
    fn is_named(&self) -> bool;
}

/// A response that should be a list, its records put into a collection of the caller's.
#[derive(Debug)]
pub struct Records<C> {
    pub list: C,
    /// How many items the response had, with those left out.
    pub received: usize,
    /// The response was one object that is not such a record.
    pub unrecognized: bool,
}

impl<C> Records<C> {
    /// A response without any.
    pub fn none(list: C) -> Records<C> {
        Records { list, received: 0, unrecognized: false }
    }
}

/// Why there are no records.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    CutShort,
    NoJson,
}

/// A list of records; one object is a list of one, null is none.
pub struct RecordReader<T, C> {
    /// Received and not yet parsed.
    rest: Vec<u8>,
    /// Parsing waits for so many bytes: a record that arrives in chunks is not parsed again for each.
    parse_from: usize,
    next: Expected,
    is_broken: bool,
    beginning: Vec<u8>,
    size: usize,
    records: Records<C>,
    record: PhantomData<T>,
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Anything,
    /// No list: read when all is there.
    One,
    FirstOrEnd,
    Record,
    CommaOrEnd,
    Nothing,
}

impl<T: Record, C: Extend<T>> RecordReader<T, C> {
    pub fn new(list: C) -> Self {
        Self {
            rest: Vec::new(),
            parse_from: BYTE_ORDER_MARK.len(),
            next: Expected::Anything,
            is_broken: false,
            beginning: Vec::new(),
            size: 0,
            records: Records::none(list),
            record: PhantomData,
        }
    }

    /// How many bytes were received.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How the response begins: enough to name what it was.
    pub fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// Takes the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.size += chunk.len();
        let room = BEGINNING - self.beginning.len();
        self.beginning.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if self.is_broken {
            return;
        }
        self.rest.extend_from_slice(chunk);
        if self.rest.len() >= self.parse_from && self.read(false).is_err() {
            self.is_broken = true;
            self.rest = Vec::new();
        }
    }

    /// The records, once everything was received.
    pub fn end(mut self) -> Result<Records<C>, Broken> {
        if self.is_broken {
            return Err(Broken::NoJson);
        }
        self.read(true)?;
        match self.next {
            Expected::One => self.one()?,
            Expected::Nothing => {}
            _ => return Err(Broken::CutShort),
        }
        Ok(self.records)
    }

    /// Reads as far as it goes. `is_all`: no more comes.
    fn read(&mut self, is_all: bool) -> Result<(), Broken> {
        let mut at = 0;
        if self.next == Expected::Anything && self.rest.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        while self.next != Expected::One {
            at += self.rest[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let Some(byte) = self.rest.get(at) else { break };
            self.next = match (self.next, byte) {
                (Expected::Anything, b'[') => Expected::FirstOrEnd,
                (Expected::Anything, _) => {
                    self.next = Expected::One;
                    break;
                }
                (Expected::FirstOrEnd | Expected::CommaOrEnd, b']') => Expected::Nothing,
                (Expected::CommaOrEnd, b',') => Expected::Record,
                (Expected::FirstOrEnd | Expected::Record, _) => match self.one_of_list(at, is_all)? {
                    Some(length) => {
                        at += length;
                        self.next = Expected::CommaOrEnd;
                        continue;
                    }
                    None => break,
                },
                (Expected::CommaOrEnd | Expected::Nothing, _) => return Err(Broken::NoJson),
                (Expected::One, _) => break,
            };
            at += 1;
        }
        self.rest.drain(..at);
        self.parse_from = 2 * self.rest.len();
        Ok(())
    }

    /// How long the list's next item is; `None`: more must come first.
    fn one_of_list(&mut self, at: usize, is_all: bool) -> Result<Option<usize>, Broken> {
        let rest = &self.rest[at..];
        // Only these say by themselves where they end.
        let ends_by_itself = matches!(rest[0], b'{' | b'[' | b'"');
        let mut items = Deserializer::from_slice(rest).into_iter::<T>();
        let item = items.next();
        let mut length = items.byte_offset();
        let found = match item {
            Some(Ok(item)) if item.is_named() => Some(item),
            Some(Err(error)) if error.is_eof() => return more(is_all),
            None => return more(is_all),
            // Odd: it is read once more, in another way.
            Some(_) => {
                let mut items = Deserializer::from_slice(rest).into_iter::<&RawValue>();
                let raw = match items.next() {
                    Some(Ok(raw)) => raw.get(),
                    Some(Err(error)) if error.is_eof() => return more(is_all),
                    _ => return Err(Broken::NoJson),
                };
                length = items.byte_offset();
                if !ends_by_itself && length == rest.len() && !is_all {
                    return Ok(None);
                }
                record(raw)
            }
        };
        self.records.received += 1;
        self.records.list.extend(found);
        Ok(Some(length))
    }

    fn one(&mut self) -> Result<(), Broken> {
        let broken = |error: JsonError| if error.is_eof() { Broken::CutShort } else { Broken::NoJson };
        if self.rest.first() == Some(&b'{') {
            let raw: &RawValue = serde_json::from_slice(&self.rest).map_err(broken)?;
            let found = record(raw.get());
            self.records.received = 1;
            self.records.unrecognized = found.is_none();
            self.records.list.extend(found);
            return Ok(());
        }
        serde_json::from_slice::<()>(&self.rest).map_err(broken)
    }
}

/// An item that is not all there.
fn more(is_all: bool) -> Result<Option<usize>, Broken> {
    if is_all { Err(Broken::CutShort) } else { Ok(None) }
}

/// One record, read as leniently as it takes.
pub fn record<T: Record>(json: &str) -> Option<T> {
    let why = match serde_json::from_str::<T>(json) {
        Ok(record) if record.is_named() => return Some(record),
        Ok(_) => "it has no name or id".to_owned(),
        Err(error) => error.to_string(),
    };
    warn_once(format!("left out {} that cannot be read ({why}): {}", T::KIND, excerpt(json, 120)));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;

    /// The ids, how many received, and whether it was a unrecognized; read in chunks of so many bytes.
    fn read(body: &[u8], chunks: usize) -> Result<(String, usize, bool), Broken> {
        let mut reader = RecordReader::<Run, Vec<Run>>::new(Vec::new());
        for chunk in body.chunks(chunks) {
            reader.feed(chunk);
        }
        assert_eq!(reader.size(), body.len());
        let ids = |records: &Records<Vec<Run>>| records.list.iter().map(|run| run.run_id.clone()).collect::<Vec<_>>();
        reader.end().map(|records| (ids(&records).join(" "), records.received, records.unrecognized))
    }

    #[track_caller]
    fn check(body: &str, expected: Result<(&str, usize, bool), Broken>) {
        let expected = expected.map(|(ids, received, unrecognized)| (ids.to_owned(), received, unrecognized));
        for chunks in 1..=body.len().max(1) {
            assert_eq!(read(body.as_bytes(), chunks), expected, "{body} in chunks of {chunks}");
        }
    }

    #[test]
    fn however_it_comes_in_it_says_the_same() {
        check(r#"[{"run_id":"1"},{"run_id":"2"}]"#, Ok(("1 2", 2, false)));
        check(" [ ] ", Ok(("", 0, false)));
        check("\u{feff} [ {\"run_id\": \"ä\"} , 5 ] ", Ok(("ä", 2, false)));
        check(
            r#"[{"run_id":7,"end_at":{"no":"time"}},{"x":[1,"]"]},12,-1.5e3,true,null,[],"},"]"#,
            Ok(("7", 8, false)),
        );
        check(r#"{"run_id":"1"}"#, Ok(("1", 1, false)));
        check(r#"{"detail":"x"}"#, Ok(("", 1, true)));
        check("null", Ok(("", 0, false)));
    }

    #[test]
    fn what_is_cut_short_is_distinguished_from_what_is_no_json() {
        let whole = r#"[{"run_id":"1"}, {"run_id":"ä"}]"#;
        for length in 0..whole.len() {
            assert_eq!(read(&whole.as_bytes()[..length], 5), Err(Broken::CutShort), "{}", &whole[..length.min(17)]);
        }
        for body in
            ["[}", "[1,]", "[,1]", "[1 2]", "[] []", "[truth]", r#"{"run_id"}"#, "<html>", "\"text\"", "null null"]
        {
            check(body, Err(Broken::NoJson));
        }
        assert_eq!(read(b"[{\"run_id\":\"\xff\"}]", 3), Err(Broken::NoJson));
    }

    #[test]
    fn no_more_is_kept_than_what_is_not_read_yet() {
        let mut reader = RecordReader::<Run, Vec<Run>>::new(Vec::new());
        reader.feed(b"[");
        for number in 0..10_000 {
            reader.feed(format!("{{\"run_id\":\"{number}\"}},").as_bytes());
            assert!(reader.rest.len() < 200);
        }
        reader.feed(br#"{"run_id":"the last"}]"#);
        assert_eq!(reader.end().unwrap().received, 10_001);
    }
}
