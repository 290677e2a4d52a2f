//! A value as a file or the environment gives it, before its key says what it has to be.
//!
//! The environment has only text, so numbers and flags are also read from text; a file that gives
//! a number where a text belongs is refused, because `0123` would arrive as another text.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A value of unknown type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, or anything from the environment.
    Text(String),
    /// A number, in the spelling of the file's reader.
    Number(String),
    /// `true` or `false`.
    Flag(bool),
    /// Several values.
    List(Vec<Value>),
    /// A key with nothing behind it.
    Nothing,
}

impl Value {
    /// A text; no number or flag is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Flag(_) | Self::List(_) | Self::Nothing => None,
        }
    }

    /// A whole number within `range`.
    pub fn number<T: FromStr + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Option<T> {
        let number = match self {
            Self::Number(text) | Self::Text(text) => text.parse().ok()?,
            Self::Flag(_) | Self::List(_) | Self::Nothing => return None,
        };
        range.contains(&number).then_some(number)
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Text(text) => text.parse().ok(),
            Self::Number(_) | Self::List(_) | Self::Nothing => None,
        }
    }

    /// A duration: `30m`; zero is one.
    pub fn duration(&self) -> Option<Duration> {
        let text = match self {
            Self::Text(text) => text,
            Self::Number(number) if number == "0" => number,
            Self::Number(_) | Self::Flag(_) | Self::List(_) | Self::Nothing => return None,
        };
        model::parse_duration(text).ok()
    }

    /// A duration above zero.
    pub fn positive_duration(&self) -> Option<Duration> {
        self.duration().filter(|duration| !duration.is_zero())
    }

    /// A duration within `range`.
    pub fn duration_within(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.duration().filter(|duration| range.contains(duration))
    }

    /// Several texts; the environment separates them with commas.
    pub fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(str::to_owned).collect())
            }
            Self::List(values) => {
                values.iter().map(|value| value.text().map(str::to_owned)).collect()
            }
            Self::Number(_) | Self::Flag(_) | Self::Nothing => None,
        }
    }

    /// The value in an error text, cut short.
    pub fn shown(&self) -> String {
        /// Enough to recognise a value by.
        const SHOWN_CHARS: usize = 40;
        match self {
            Self::Text(text) | Self::Number(text) => {
                let short: String = text.chars().take(SHOWN_CHARS).collect();
                let rest = if short.len() < text.len() { "…" } else { "" };
                format!("`{}{rest}`", short.escape_debug())
            }
            Self::Flag(flag) => format!("`{flag}`"),
            Self::List(_) => "a list".to_owned(),
            Self::Nothing => "nothing".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn numbers_are_read_within_their_range_only() {
        assert_eq!(text("512").number(1_u32..=u32::MAX), Some(512));
        assert_eq!(Value::Number("512".into()).number(1_u32..=u32::MAX), Some(512));
        for value in [text("0"), text("-1"), text("4294967296"), text("1.5"), text("")] {
            assert_eq!(value.number(1_u32..=u32::MAX), None, "{value:?}");
        }
    }

    #[test]
    fn a_number_is_no_text() {
        assert_eq!(Value::Number("123".into()).text(), None);
        assert_eq!(Value::Flag(true).text(), None);
    }

    #[test]
    fn a_bare_zero_is_a_duration_and_no_other_bare_number_is() {
        assert_eq!(Value::Number("0".into()).duration(), Some(Duration::ZERO));
        assert_eq!(Value::Number("30".into()).duration(), None);
        assert_eq!(text("0s").positive_duration(), None);
    }

    #[test]
    fn a_list_is_several_values_or_one_text_with_commas() {
        let expected = Some(vec!["http://a".to_owned(), "http://b".to_owned()]);
        assert_eq!(text("http://a, http://b").texts(), expected);
        assert_eq!(Value::List(vec![text("http://a"), text("http://b")]).texts(), expected);
        assert_eq!(text("").texts(), Some(Vec::new()));
    }

    #[test]
    fn long_values_are_cut_and_control_characters_shown_as_escapes() {
        assert_eq!(text("\u{1b}[31m").shown(), r"`\u{1b}[31m`");
        assert_eq!(text(&"x".repeat(100)).shown().chars().count(), 43);
    }
}
