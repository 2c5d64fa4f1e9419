//! The URLs of the calls: validated once, built with everything encoded, and redacted where people read them.
use url::Url;

use crate::Error;

/// The URL as given, fit to put calls below it; `name` is the variable that holds it.
pub(crate) fn validated(url: &Url, name: &str) -> Result<Url, Error> {
    let wrong = |why: &str| Err(Error::Config(format!("{name} {why}, got {}", redacted(url))));
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return wrong("must be an http:// or https:// URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or a password");
    }
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// `{base}/api/v1/{segments}?{parameters}`, without the parameters that are `None`. No URL where a segment can name nothing (it is
/// empty or would lead upwards).
pub(crate) fn call_url<const N: usize>(
    base: &Url,
    segments: &[&str],
    parameters: [(&str, Option<String>); N],
) -> Option<Url> {
    if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
        return None;
    }
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "v1"]).extend(segments);
    for (name, value) in parameters {
        if let Some(value) = value {
            append(&mut url, name, &value);
        }
    }
    Some(url)
}

/// The same call with a limit.
pub(crate) fn with_limit(url: &Url, limit: u32) -> Url {
    let mut url = url.clone();
    append(&mut url, "limit", &limit.to_string());
    url
}

fn append(url: &mut Url, name: &str, value: &str) {
    url.query_pairs_mut().append_pair(name, value);
    // `+` for a blank is a habit of forms; `%20` is read the same way everywhere.
    let encoded = url.query().unwrap_or_default().replace('+', "%20");
    url.set_query(Some(&encoded));
}

/// For messages and logs: no user name, no password, no query.
pub(crate) fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot hold them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Scheme, host and port are the same: the bearer may go there.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn calls_are_below_any_base() {
        fn check<const N: usize>(base: &str, segments: &[&str], parameters: [(&str, Option<&str>); N], expected: &str) {
            let parameters = parameters.map(|(name, value)| (name, value.map(str::to_owned)));
            assert_eq!(call_url(&url(base), segments, parameters).unwrap().as_str(), expected);
        }
        check("http://h", &["runs"], [], "http://h/api/v1/runs");
        check("http://h/", &["runs"], [], "http://h/api/v1/runs");
        check("https://h/a/b", &["runs", "1"], [], "https://h/a/b/api/v1/runs/1");
        check("https://h/a/b/", &["runs", "1"], [], "https://h/a/b/api/v1/runs/1");
        check("http://h", &["dags", "release/1.2"], [], "http://h/api/v1/dags/release%2F1.2");
        check("http://h", &["dags", "a b?c#d%"], [], "http://h/api/v1/dags/a%20b%3Fc%23d%25");
        check("http://h", &["dags", "ünï"], [], "http://h/api/v1/dags/%C3%BCn%C3%AF");
        check("http://h", &["e"], [("a", None), ("last", Some("true")), ("b", None)], "http://h/api/v1/e?last=true");
        let name = [("node_name", Some("\"a b\".\"c+d\"&e")), ("x", Some("y z"))];
        check("http://h", &["e"], name, "http://h/api/v1/e?node_name=%22a%20b%22.%22c%2Bd%22%26e&x=y%20z");
    }

    #[test]
    fn a_limit_is_added() {
        assert_eq!(with_limit(&url("http://h/e"), 5).as_str(), "http://h/e?limit=5");
        assert_eq!(with_limit(&url("http://h/e?a=%20%2B"), 5).as_str(), "http://h/e?a=%20%2B&limit=5");
    }

    #[test]
    fn a_segment_that_can_name_nothing_gives_no_call() {
        for name in ["", ".", ".."] {
            assert_eq!(call_url(&url("http://h"), &["runs", name], []), None);
        }
    }

    #[test]
    fn a_wrong_base_is_named_without_its_secret() {
        fn check(text: &str, expected: &str) {
            assert_eq!(validated(&url(text), "TCLOUD_BASE_URL").unwrap_err().to_string(), expected);
        }
        check("ftp://h/x", "TCLOUD_BASE_URL must be an http:// or https:// URL, got ftp://h/x");
        check("mailto:a@b", "TCLOUD_BASE_URL must be an http:// or https:// URL, got mailto:a@b");
        check("https://me:pw@h/x?k=v", "TCLOUD_BASE_URL must not hold a user name or a password, got https://h/x");
        assert_eq!(validated(&url("https://h/x/?k=v#f"), "X").unwrap().as_str(), "https://h/x/");
    }
}
