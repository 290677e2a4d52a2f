//! The `Range` header of a file read.

use http::HeaderMap;
use http::header::RANGE;

/// The one part of a file that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From a byte on, up to and with another if that is given.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

impl Part {
    /// What the headers ask for. A range in a form that is not understood, and several ranges, are
    /// answered with the whole file, as HTTP allows.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(RANGE).and_then(|value| value.to_str().ok());
        text.and_then(Self::parse).unwrap_or(Self::Whole)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok()).flatten()
        };
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood_and_all_else_is_the_whole_file() {
        for (text, expected) in [
            ("bytes=0-0", Part::From(0, Some(0))),
            ("bytes=5-9", Part::From(5, Some(9))),
            ("bytes=5-", Part::From(5, None)),
            ("bytes=-3", Part::Last(3)),
            ("bytes=9-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, text.parse().unwrap())]);
            assert_eq!(Part::of(&headers), expected, "{text}");
        }
    }
}
