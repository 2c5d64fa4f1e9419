//! What a response of the API means: records, nothing there, a new token needed, or a failure that is transient or permanent.
use std::time::Duration;

use serde_json::Value;
use tobiko_api::excerpt;
use tobiko_api::records::{Broken, Record, RecordReader, Records};
use url::Url;

use crate::error::Failure;
use crate::urls::{redacted, same_origin};
use crate::{Error, Secret};

/// A response with its whole body, whatever its status.
pub(crate) struct RawResponse {
    pub status: u16,
    /// Where it is from, after redirects.
    pub url: Url,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// A response that is not a failure.
pub(crate) enum ApiResponse<C> {
    Records(Records<C>),
    /// Nothing to return (204).
    Empty,
    /// The API knows no such thing (404).
    NotFound,
    /// The bearer is not valid (any more); with the detail of the error.
    Unauthenticated(String),
}

/// What to do about a base URL that is not the API's.
pub(crate) const CHECK_BASE_URL: &str = "check TCLOUD_BASE_URL";

/// Whether a response with this status has records: such a one is not read as a whole, but by [`records`].
pub(crate) fn has_records(status: u16) -> bool {
    (200..300).contains(&status)
}

/// What was received from `url` with a status that has records.
pub(crate) fn records<T: Record, C: Extend<T>>(
    status: u16,
    url: &Url,
    body: RecordReader<T, C>,
    bearer: &Secret,
) -> Result<ApiResponse<C>, Failure> {
    if status == 204 && body.size() == 0 {
        return Ok(ApiResponse::Empty);
    }
    let url = redacted(url);
    let unexpected = |what: &str| -> Failure {
        let reason = format!("answers {what}");
        Error::UnexpectedResponse { url: url.clone(), reason, remedy: CHECK_BASE_URL }.into()
    };
    let beginning = body.beginning().to_vec();
    match body.end() {
        Ok(records) if records.unrecognized => {
            let seen = bearer.redacted(&excerpt(&String::from_utf8_lossy(&beginning), 100));
            Err(unexpected(&format!("JSON that is not {} ({seen})", T::KIND)))
        }
        Ok(records) => Ok(ApiResponse::Records(records)),
        Err(Broken::CutShort) if !is_html(&beginning) => Err(Failure::unreachable(url, "its response ended too early")),
        Err(_) => Err(unexpected(&format!("{} instead of JSON", bearer.redacted(&error_detail(&beginning))))),
    }
}

/// What a response without records means. The request was for `requested`, with `bearer`.
pub(crate) fn read<C>(response: &RawResponse, requested: &Url, bearer: &Secret) -> Result<ApiResponse<C>, Failure> {
    let url = redacted(&response.url);
    let (status, body) = (response.status, response.body.as_slice());
    let detail = || bearer.redacted(&error_detail(body));
    if is_transient(status) {
        let reason = format!("it answered {status}: {}", detail());
        return Err(Failure::Transient {
            error: Error::Unreachable { url, reason },
            retry_after: response.retry_after,
        });
    }
    let unexpected =
        |reason: String| Err(Error::UnexpectedResponse { url: url.clone(), reason, remedy: CHECK_BASE_URL }.into());
    if !same_origin(requested, &response.url) {
        let reason = format!("redirects to {url}, which gets no credentials and answers {status}");
        let remedy = "set TCLOUD_BASE_URL to where the cloud is";
        return Err(Error::UnexpectedResponse { url: redacted(requested), reason, remedy }.into());
    }
    match status {
        401 => Ok(ApiResponse::Unauthenticated(detail())),
        403 => {
            let reason = format!(
                "denied access (403: {}): check that these credentials may use the project in TCLOUD_BASE_URL",
                detail()
            );
            Err(Error::PermissionDenied { url, reason }.into())
        }
        404 if is_404_of_the_api(body) => Ok(ApiResponse::NotFound),
        404 => {
            let reason = format!("answers 404 with {}, not as the API does", detail());
            Err(Failure::NoApi(Error::UnexpectedResponse { url, reason, remedy: CHECK_BASE_URL }))
        }
        300..=399 => unexpected(format!("answers {status} without a location")),
        _ if is_html(body) => unexpected(format!("answers {status} with {}", detail())),
        _ => Err(Error::BadRequest { url, status, detail: detail() }.into()),
    }
}

/// Statuses that may be different the next time.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// The API sends `{"detail": ...}`, or nothing at all. A page or a text of a proxy means that the base URL is wrong.
fn is_404_of_the_api(body: &[u8]) -> bool {
    if body.trim_ascii().is_empty() {
        return true;
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => true,
        Ok(Value::Array(items)) => items.is_empty(),
        Ok(Value::Object(fields)) => fields.is_empty() || fields.contains_key("detail"),
        _ => false,
    }
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// The body of an error for a person, on one line: the `detail` of an API, the title of a page, else its beginning.
pub(crate) fn error_detail(body: &[u8]) -> String {
    const MAX_CHARS: usize = 300;
    let text = String::from_utf8_lossy(body);
    if text.trim().is_empty() {
        return "nothing".to_owned();
    }
    if is_html(body) {
        return match title(&text) {
            Some(title) => format!("an HTML page, \"{}\"", excerpt(title, MAX_CHARS)),
            None => "an HTML page".to_owned(),
        };
    }
    let detail = match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(fields)) => fields.get("detail").map(one_line),
        _ => None,
    };
    excerpt(detail.as_deref().unwrap_or(&text), MAX_CHARS)
}

/// `detail` is a text, or a list of objects whose `msg` describes what is wrong at `loc`.
fn one_line(detail: &Value) -> String {
    match detail {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(one_line).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => match (fields.get("msg"), fields.get("loc")) {
            (Some(Value::String(message)), Some(Value::Array(place))) => {
                let place: Vec<String> = place.iter().map(one_line).collect();
                format!("{}: {message}", place.join("."))
            }
            (Some(Value::String(message)), _) => message.clone(),
            _ => detail.to_string(),
        },
        other => other.to_string(),
    }
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(page[start..end].trim()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;

    fn meaning_of(response: &RawResponse, requested: &Url) -> Result<ApiResponse<Vec<Run>>, Failure> {
        let bearer = Secret::from("s3cret");
        if !has_records(response.status) {
            return read(response, requested, &bearer);
        }
        let mut body = RecordReader::<Run, _>::new(Vec::new());
        body.feed(&response.body);
        records(response.status, &response.url, body, &bearer)
    }

    fn meaning(status: u16, body: &str, from: &str) -> String {
        let response = RawResponse { status, url: Url::parse(from).unwrap(), retry_after: None, body: body.into() };
        let requested = Url::parse("https://h/x/api/v1/runs?limit=1").unwrap();
        match meaning_of(&response, &requested) {
            Ok(ApiResponse::Records(records)) => format!("{} of {}", records.list.len(), records.received),
            Ok(ApiResponse::Empty) => "empty".to_owned(),
            Ok(ApiResponse::NotFound) => "not found".to_owned(),
            Ok(ApiResponse::Unauthenticated(_)) => "unauthenticated".to_owned(),
            Err(Failure::Transient { error: Error::Unreachable { reason, .. }, .. }) => format!("transient: {reason}"),
            Err(Failure::Transient { error, .. } | Failure::NoApi(error) | Failure::Permanent(error)) => {
                error.to_string()
            }
        }
    }

    #[test]
    fn each_response_means_one_thing() {
        fn check(status: u16, body: &str, expected: &str) {
            assert_eq!(meaning(status, body, "https://h/x/api/v1/runs?limit=1"), expected, "{status} {body}");
        }
        const BASE: &str = "https://h/x/api/v1/runs";
        check(200, r#"[{"run_id":"1"},{"run_id":"2"}]"#, "2 of 2");
        check(200, r#"{"run_id":"1"}"#, "1 of 1");
        check(200, "\u{feff} [] ", "0 of 0");
        check(200, "null", "0 of 0");
        check(204, "", "empty");
        check(200, r#"[{"run_id":"1"},{"nothing":2},3,null,[],"x"]"#, "1 of 6");
        check(200, "", "transient: its response ended too early");
        check(200, r#"[{"run_id":"1"},"#, "transient: its response ended too early");
        check(200, r#"[{"run_id":"1}"#, "transient: its response ended too early");
        check(200, "[}", &format!("{BASE} answers [}} instead of JSON: check TCLOUD_BASE_URL"));
        check(200, r#""hi""#, &format!("{BASE} answers \"hi\" instead of JSON: check TCLOUD_BASE_URL"));
        check(
            200,
            r#"{"detail":"hi"}"#,
            &format!("{BASE} answers JSON that is not a run ({{\"detail\":\"hi\"}}): check TCLOUD_BASE_URL"),
        );
        check(
            200,
            "<html><title> Log\nin </title>",
            &format!("{BASE} answers an HTML page, \"Log in\" instead of JSON: check TCLOUD_BASE_URL"),
        );
        check(401, "", "unauthenticated");
        check(
            403,
            r#"{"detail":"no, s3cret"}"#,
            &format!(
                "{BASE} denied access (403: no, ***): check that these credentials may use the project in TCLOUD_BASE_URL"
            ),
        );
        check(404, r#"{"detail":"Not Found"}"#, "not found");
        check(404, "", "not found");
        check(404, " {} ", "not found");
        check(
            404,
            "<h1>Not Found</h1>",
            &format!("{BASE} answers 404 with an HTML page, not as the API does: check TCLOUD_BASE_URL"),
        );
        check(
            404,
            "404 page not found",
            &format!("{BASE} answers 404 with 404 page not found, not as the API does: check TCLOUD_BASE_URL"),
        );
        check(
            404,
            r#"{"message":"no route"}"#,
            &format!(
                "{BASE} answers 404 with {{\"message\":\"no route\"}}, not as the API does: check TCLOUD_BASE_URL"
            ),
        );
        check(304, "", &format!("{BASE} answers 304 without a location: check TCLOUD_BASE_URL"));
        check(400, r#"{"detail":"bad sort"}"#, &format!("{BASE} rejected the request with status 400: bad sort"));
        check(
            422,
            r#"{"detail":[{"loc":["query","limit"],"msg":"too large"}]}"#,
            &format!("{BASE} rejected the request with status 422: query.limit: too large"),
        );
        check(400, "<html>", &format!("{BASE} answers 400 with an HTML page: check TCLOUD_BASE_URL"));
        check(408, "", "transient: it answered 408: nothing");
        check(429, r#"{"detail":"slow down"}"#, "transient: it answered 429: slow down");
        check(500, r#"{"detail":"boom"}"#, "transient: it answered 500: boom");
        check(
            502,
            "<html><head><title>502 Bad Gateway</title></head></html>",
            "transient: it answered 502: an HTML page, \"502 Bad Gateway\"",
        );
        check(599, "upstream\n  gone", "transient: it answered 599: upstream gone");
    }

    #[test]
    fn an_error_after_a_redirect_to_another_host_blames_the_base_url() {
        fn check(status: u16, body: &str, from: &str, expected: &str) {
            assert_eq!(meaning(status, body, from), expected, "{status} {from}");
        }
        let refused = |status: u16| {
            format!(
                "https://h/x/api/v1/runs redirects to https://other/y, which gets no credentials and answers {status}: set TCLOUD_BASE_URL to where the cloud is"
            )
        };
        check(401, "", "https://other/y?z=1", &refused(401));
        check(404, r#"{"detail":"no"}"#, "https://other/y", &refused(404));
        check(401, "", "https://h/elsewhere", "unauthenticated");
        check(200, "[]", "https://other/y", "0 of 0");
        check(503, "", "https://other/y", "transient: it answered 503: nothing");
    }

    #[test]
    fn text_cut_inside_a_character_ended_too_early() {
        let response = RawResponse {
            status: 200,
            url: Url::parse("http://h").unwrap(),
            retry_after: None,
            body: b"[\"\xe2\x82".to_vec(),
        };
        assert!(matches!(meaning_of(&response, &response.url), Err(Failure::Transient { .. })));
    }
}
