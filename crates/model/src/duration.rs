//! Durations as the wire spells them: `300ms`, `1.5h`, `2h45m` in, `1m30s` out. The syntax is the
//! one of the Go standard library, which the published clients use.

use std::fmt::Write;
use std::time::Duration;

/// The longest text that is read, in bytes. Far above any honest duration.
const MAX_TEXT: usize = 64;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is nothing, or only a sign.
    #[error("expected a duration such as 30s, 5m or 1h30m")]
    Empty,
    /// A number without a unit, an unknown unit or a stray character.
    #[error("expected a number and a unit (ns, us, ms, s, m, h), such as 30s, 5m or 1h30m")]
    Syntax,
    /// Below zero.
    #[error("expected a duration of zero or more")]
    Negative,
    /// More than Go can hold: about 292 years.
    #[error("expected a duration below 292 years")]
    TooLarge,
}

/// Reads a duration: one or more decimal numbers, each with a unit, and an optional sign.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.len() > MAX_TEXT {
        return Err(DurationError::Syntax);
    }
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) | None => (false, text),
    };
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (term, tail) = parse_term(rest)?;
        nanos = nanos.checked_add(term).ok_or(DurationError::TooLarge)?;
        rest = tail;
    }
    if negative && nanos > 0 {
        return Err(DurationError::Negative);
    }
    if nanos > i64::MAX as u128 {
        return Err(DurationError::TooLarge);
    }
    Ok(Duration::from_nanos(u64::try_from(nanos).expect("checked against i64::MAX above")))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn parse_term(text: &str) -> Result<(u128, &str), DurationError> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Syntax);
    }
    let unit_len = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(unit_len);
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return Err(DurationError::Syntax),
    };
    let whole: u128 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| DurationError::TooLarge)?,
    };
    let mut nanos = whole.checked_mul(scale).ok_or(DurationError::TooLarge)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Ok((nanos, tail))
}

/// The leading digits and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Writes a duration: `0s`, `1.5ms`, `1m30s`, `24h0m0s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => with_fraction(u64::from(nanos), 3, "µs"),
            _ => with_fraction(u64::from(nanos), 6, "ms"),
        };
    }
    let mut text = String::new();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        write!(text, "{hours}h").expect("writing to a String cannot fail");
    }
    if seconds >= 60 {
        write!(text, "{minutes}m").expect("writing to a String cannot fail");
    }
    text + &with_fraction(seconds % 60 * 1_000_000_000 + u64::from(nanos), 9, "s")
}

/// `value` with its last `places` digits behind the point, without zeros at the end.
fn with_fraction(value: u64, places: u32, unit: &str) -> String {
    let scale = 10_u64.pow(places);
    let fraction = format!("{:0width$}", value % scale, width = places as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}{unit}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("300ms", ms(300)),
            ("1h30m", ms(5_400_000)),
            ("1.5h", ms(5_400_000)),
            (".5s", ms(500)),
            ("1.s", ms(1000)),
            ("+5m", ms(300_000)),
            ("0", ms(0)),
            ("-0s", ms(0)),
            ("2h45m0.5s", ms(9_900_500)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        use DurationError::{Empty, Negative, Syntax, TooLarge};
        for (text, expected) in [
            ("", Empty),
            ("-", Empty),
            ("5", Syntax),
            ("abc", Syntax),
            ("1d", Syntax),
            ("1 s", Syntax),
            ("1s ", Syntax),
            ("--1s", Syntax),
            (".s", Syntax),
            ("1e3s", Syntax),
            ("-5m", Negative),
            ("9999999999h", TooLarge),
            ("99999999999999999999999999999999999999999h", TooLarge),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text:?}");
        }
        assert_eq!(parse_duration(&"1s".repeat(40)), Err(Syntax));
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, expected) in [
            (0, "0s"),
            (15, "15ns"),
            (999_725, "999.725µs"),
            (4_592_240, "4.59224ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "1m30s"),
            (86_400_000_000_000, "24h0m0s"),
            (60_500_000_000, "1m0.5s"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in 0..=i64::MAX) {
            let duration = Duration::from_nanos(nanos.unsigned_abs());
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_duration(&text);
        }
    }
}
