//! Reading JSON so that nothing odd spoils the rest: a field of the wrong type becomes a text or nothing, a record that cannot
//! be read is left out with a warning. Only what is no JSON at all is an error.
use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::excerpt;
use crate::records::{Record, record};
use crate::warn::warn_once;

/// The records of a list inside a record; one object is a list of one, null is none.
fn records<T: Record>(json: &str) -> Result<Vec<T>, serde_json::Error> {
    match json.trim_start().as_bytes().first() {
        Some(b'[') => {
            // Where nothing is odd, in one go.
            if let Ok(list) = serde_json::from_str::<Vec<T>>(json)
                && list.iter().all(T::is_named)
            {
                return Ok(list);
            }
            let raw: Vec<&RawValue> = serde_json::from_str(json)?;
            Ok(raw.iter().filter_map(|raw| record(raw.get())).collect())
        }
        Some(b'{') => {
            let raw: &RawValue = serde_json::from_str(json)?;
            Ok(record(raw.get()).into_iter().collect())
        }
        _ => serde_json::from_str::<()>(json).map(|()| Vec::new()),
    }
}

/// Field: a list of records inside a record.
pub(crate) fn nested<'de, D: Deserializer<'de>, T: Record>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let mut list = records(raw.get()).unwrap_or_else(|_| {
        warn_once(format!("expected a list of records ({}), got {}", T::KIND, excerpt(raw.get(), 120)));
        Vec::new()
    });
    // There may be ten thousand such lists.
    list.shrink_to_fit();
    Ok(list)
}

/// Field: a text; null and missing are the empty one, what is none is its JSON.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(any_text(deserializer)?.into_owned())
}

/// As [`text`], without a copy where that can be.
pub(crate) fn any_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    deserializer.deserialize_any(AnyText)
}

/// Field: a text, or none when there is nothing in it.
pub(crate) fn some_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = any_text(deserializer)?;
    Ok((!text.trim().is_empty()).then(|| text.into_owned()))
}

/// Field: a text, which may be empty, or none when it is null or missing.
pub(crate) fn null_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok((!value.is_null()).then(|| text_of(value)))
}

/// Field: a list of texts; a single one is a list of one.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(texts_of(Value::deserialize(deserializer)?))
}

/// Field: a list of texts, or none when it is null or missing.
pub(crate) fn some_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok((!value.is_null()).then(|| texts_of(value)))
}

/// Field: a whole number, or none.
pub(crate) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// Field: a number that counts something, or none.
pub(crate) fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(integer(deserializer)?.and_then(|number| number.try_into().ok()))
}

/// Field: a count; missing is 0.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(unsigned(deserializer)?.unwrap_or_default())
}

/// Field: true or false; what is neither is false.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(any_text(deserializer)?.eq_ignore_ascii_case("true"))
}

/// Field: true, false, or none when it is neither.
pub(crate) fn some_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let text = any_text(deserializer)?;
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    Ok(if is("true") { Some(true) } else { is("false").then_some(false) })
}

/// Field: a duration in seconds, or none.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let seconds: Option<f64> = any_text(deserializer)?.trim().parse().ok();
    Ok(seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0))
}

/// Field: a point in time, or none.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = any_text(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let time = point_in_time(&text);
    if time.is_none() {
        warn_once(format!("a time that cannot be read counts as none: {}", excerpt(&text, 60)));
    }
    Ok(time)
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of(value.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Ok(Cow::Owned(text_of(Value::deserialize(SeqAccessDeserializer::new(items))?)))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        Ok(Cow::Owned(text_of(Value::deserialize(MapAccessDeserializer::new(fields))?)))
    }
}

/// ISO 8601 with a zone, or without one: then it is UTC. A blank may stand for the `T`.
fn point_in_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let without_zone = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(without_zone)
}

fn texts_of(value: Value) -> Vec<String> {
    let texts = match value {
        Value::Array(values) => values.into_iter().map(text_of).collect(),
        other => vec![text_of(other)],
    };
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_a_zone() {
        fn check(text: &str, expected: &str) {
            let time = point_in_time(text).map(|time| time.to_string());
            assert_eq!(time.unwrap_or_default(), expected, "{text}");
        }
        check("2024-05-01T02:00:00Z", "2024-05-01T02:00:00Z");
        check("2024-05-01T02:00:00+00:00", "2024-05-01T02:00:00Z");
        check("2024-05-01T02:00:00+02:00", "2024-05-01T00:00:00Z");
        check("2024-05-01T02:00:00-0130", "2024-05-01T03:30:00Z");
        check("2024-05-01 02:00:00+00", "2024-05-01T02:00:00Z");
        check("2024-05-01T02:00:00", "2024-05-01T02:00:00Z");
        check("2024-05-01 02:00:00", "2024-05-01T02:00:00Z");
        check(" 2024-05-01 02:00:00.123456 ", "2024-05-01T02:00:00.123456Z");
        check("2024-05-01T02:00:00.123456789Z", "2024-05-01T02:00:00.123456789Z");
        check("2024-05-01", "2024-05-01T00:00:00Z");
        check("2024-13-01T02:00:00Z", "");
        check("yesterday", "");
        check("1714528800", "");
        check("", "");
    }
}
