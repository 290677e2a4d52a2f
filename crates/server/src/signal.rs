//! Names of signals, as Linux numbers them.

use api::Signal;
use model::Failure;

use crate::error::echo;

/// The largest number.
const LAST: i32 = 64;

/// The standard signals from number 1 on. Real-time signals have numbers only.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal.
pub(crate) fn number(signal: &Signal) -> Result<i32, Failure> {
    let found = match signal {
        Signal::Number(number) => Some(*number),
        Signal::Name(name) => name.parse().ok().or_else(|| by_name(name)),
    };
    found.filter(|number| (1..=LAST).contains(number)).ok_or_else(|| {
        let shown = match signal {
            Signal::Number(number) => number.to_string(),
            Signal::Name(name) => echo(name),
        };
        Failure::invalid_field("signal", format_args!("{shown} is no signal"))
            .hint("for example TERM, INT, KILL, USR1, or a number from 1 to 64")
    })
}

fn by_name(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let at = NAMES.iter().position(|known| *known == plain)?;
    i32::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        let of = |name: &str| number(&Signal::Name(name.into())).ok();
        assert_eq!((of("TERM"), of("SIGINT"), of("sigkill")), (Some(15), Some(2), Some(9)));
        assert_eq!((of("64"), of("SYS")), (Some(64), Some(31)));
        assert_eq!((of("65"), of("0"), of(""), of("NONE")), (None, None, None, None));
        assert_eq!(number(&Signal::Number(1)).ok(), Some(1));
        assert!(number(&Signal::Number(-9)).is_err());
    }
}
