//! Validators in headers: `ETag`, `If-Match`, `If-None-Match`, `If-Range`. What the words mean;
//! the agent compares them with the file.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};
use model::{ETag, Failure, Precondition};

/// Validators that one header may name; clients send one or two.
const LIST_MAX: usize = 16;

/// A validator as a header.
pub(crate) fn header(etag: &ETag) -> HeaderValue {
    HeaderValue::try_from(etag.quoted()).expect("a validator is visible ASCII")
}

/// What the headers demand of a file that is about to be replaced.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Failure> {
    match (headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Failure::invalid_field("If-None-Match", "it cannot go with If-Match"))
        }
        (None, Some(value)) if value.as_bytes().trim_ascii() == b"*" => {
            Ok(Some(Precondition::Absent))
        }
        (None, Some(_)) => {
            Err(Failure::invalid_field("If-None-Match", "a write takes it as * alone"))
        }
        (Some(value), None) if value.as_bytes().trim_ascii() == b"*" => {
            Ok(Some(Precondition::Exists))
        }
        (Some(_), None) => {
            // A weak validator is never the same as a file, byte for byte.
            let list = list(headers, &IF_MATCH)?;
            let strong = list.into_iter().filter(|(weak, _)| !weak).map(|(_, etag)| etag);
            Ok(Some(Precondition::Is(strong.collect())))
        }
    }
}

/// Whether the client says that it has this very file already.
pub(crate) fn has_it(headers: &HeaderMap, etag: Option<&ETag>) -> Result<bool, Failure> {
    match headers.get(IF_NONE_MATCH) {
        None => Ok(false),
        Some(value) if value.as_bytes().trim_ascii() == b"*" => Ok(true),
        Some(_) => {
            let list = list(headers, &IF_NONE_MATCH)?;
            Ok(list.iter().any(|(_, known)| Some(known) == etag))
        }
    }
}

/// Whether a part may be sent: the client has other parts of this very file, or does not say.
pub(crate) fn part_fits(headers: &HeaderMap, etag: Option<&ETag>) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    // A date, or a weak validator, proves nothing.
    let known = value.to_str().ok().and_then(|text| strong(text.trim()));
    known.is_some() && known.as_ref() == etag
}

fn strong(text: &str) -> Option<ETag> {
    text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// The validators in a header, each with whether it is a weak one.
fn list(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<(bool, ETag)>, Failure> {
    let shown = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    let bad = || Failure::invalid_field(shown, "expected validators in quotes, as in ETag");
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| bad())?;
        for item in text.split(',') {
            let item = item.trim();
            let (weak, item) = item.strip_prefix("W/").map_or((false, item), |rest| (true, rest));
            found.push((weak, strong(item).ok_or_else(bad)?));
            if found.len() > LIST_MAX {
                let problem = format!("over {LIST_MAX} validators");
                return Err(Failure::invalid_field(shown, problem));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_write_is_under_the_condition_that_its_headers_say() {
        let etag = |text: &str| text.parse::<ETag>().unwrap();
        for (name, value, expected) in [
            (IF_MATCH, "*", Precondition::Exists),
            (IF_NONE_MATCH, " * ", Precondition::Absent),
            (IF_MATCH, "\"a\"", Precondition::Is(vec![etag("a")])),
            (IF_MATCH, "\"a\" , W/\"b\",\"c\"", Precondition::Is(vec![etag("a"), etag("c")])),
        ] {
            assert_eq!(precondition(&headers(name, value)).unwrap(), Some(expected), "{value}");
        }
        for (name, value) in
            [(IF_MATCH, "a"), (IF_MATCH, "\"a"), (IF_MATCH, ""), (IF_NONE_MATCH, "\"a\"")]
        {
            assert!(precondition(&headers(name, value)).is_err(), "{value}");
        }
    }

    #[test]
    fn a_part_is_sent_of_the_very_file_alone() {
        let etag = "a".parse().ok();
        for (value, expected) in [
            ("\"a\"", true),
            ("\"b\"", false),
            ("W/\"a\"", false),
            ("Wed, 21 Oct 2015 07:28:00 GMT", false),
        ] {
            assert_eq!(part_fits(&headers(IF_RANGE, value), etag.as_ref()), expected, "{value}");
        }
        assert!(part_fits(&HeaderMap::new(), etag.as_ref()));
        assert!(!part_fits(&headers(IF_RANGE, "x"), None));
    }

    #[test]
    fn a_file_that_the_client_has_is_recognised_weakly_too() {
        let etag = "a".parse().ok();
        for (value, expected) in [
            ("*", true),
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("\"b\"", false),
        ] {
            let found = has_it(&headers(IF_NONE_MATCH, value), etag.as_ref()).unwrap();
            assert_eq!(found, expected, "{value}");
        }
    }
}
