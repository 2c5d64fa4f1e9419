//! A point in time: ISO 8601 on the wire, microseconds since 1970 in the database, plain UTC on a page.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Deserializer, de};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(jiff::Timestamp);

impl Timestamp {
    pub fn now() -> Self {
        Self::from_micros(jiff::Timestamp::now().as_microsecond()).unwrap_or(Self(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Reads ISO 8601; without a zone it is UTC, without a time it is midnight.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let at = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| text.parse::<DateTime>().and_then(in_utc))
            .or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)).and_then(in_utc))
            .ok()?;
        Self::from_micros(at.as_microsecond())
    }

    pub fn earlier_by(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.micros().saturating_sub(micros)).unwrap_or(Self(jiff::Timestamp::MIN))
    }

    pub fn micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// As a person reads it, to the second: `2024-05-01 02:00:05`.
    pub fn for_people(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn from_micros(micros: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(micros).ok().map(Self)
    }
}

fn in_utc(civil: DateTime) -> Result<jiff::Timestamp, jiff::Error> {
    TimeZone::UTC.to_timestamp(civil)
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time in ISO 8601")))
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        Self::from_micros(micros).ok_or(FromSqlError::OutOfRange(micros))
    }
}

/// A duration as a person reads it; empty when it has not ended.
pub(crate) fn duration_for_people(start: Option<Timestamp>, end: Option<Timestamp>) -> String {
    let (Some(start), Some(end)) = (start, end) else {
        return String::new();
    };
    let millis = (end.micros() - start.micros()).max(0) / 1000;
    let (seconds, minutes, hours) = (millis / 1000 % 60, millis / 60_000 % 60, millis / 3_600_000);
    match (hours, minutes) {
        (0, 0) if millis < 1000 => format!("{millis} ms"),
        (0, 0) => format!("{seconds}.{} s", millis % 1000 / 100),
        (0, _) => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_recorders_write() {
        let check = |text: &str, expected: Option<&str>| {
            let read = Timestamp::parse(text).map(|at| at.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("2024-05-01T02:00:00Z", Some("2024-05-01T02:00:00Z"));
        check("2024-05-01T02:00:00.123456+00:00", Some("2024-05-01T02:00:00.123456Z"));
        check("2024-05-01T04:00:00+02:00", Some("2024-05-01T02:00:00Z"));
        check("2024-05-01T02:00:00", Some("2024-05-01T02:00:00Z"));
        check("2024-05-01 02:00:00.5", Some("2024-05-01T02:00:00.5Z"));
        check("2024-05-01", Some("2024-05-01T00:00:00Z"));
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn durations_are_short() {
        let check = |millis: i64, expected: &str| {
            let start = Timestamp::parse("2024-05-01");
            let end = start.and_then(|at| Timestamp::from_micros(at.micros() + millis * 1000));
            assert_eq!(duration_for_people(start, end), expected);
        };
        check(-5, "0 ms");
        check(999, "999 ms");
        check(1_250, "1.2 s");
        check(65_000, "1 min 05 s");
        check(3_661_000, "1 h 01 min");
        assert_eq!(duration_for_people(Timestamp::parse("2024-05-01"), None), "");
    }
}
