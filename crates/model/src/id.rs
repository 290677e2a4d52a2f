//! Identifiers. An id that exists as a value is well formed: it can be a file name, a host name
//! label and a cgroup name.

use std::fmt;
use std::str::FromStr;

/// Random characters after the prefix, each of 32: 100 bits, so ids are not guessed and do not
/// collide.
const RANDOM_CHARS: usize = 20;

/// Lower case, digits without look-alikes of a sign: safe in host names and file names.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `{prefix}` and {RANDOM_CHARS} characters of a-z and 2-7")]
pub struct IdError {
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// A new id with 100 random bits.
            pub fn random(rng: &mut impl rand::Rng) -> Self {
                let mut text = String::from($prefix);
                for _ in 0..RANDOM_CHARS {
                    let index = rng.next_u32() as usize % ALPHABET.len();
                    text.push(char::from(ALPHABET[index]));
                }
                Self(text)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let random = text.strip_prefix($prefix).unwrap_or_default();
                let well_formed = random.len() == RANDOM_CHARS
                    && random.bytes().all(|byte| ALPHABET.contains(&byte));
                if !well_formed {
                    return Err(IdError { prefix: $prefix });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Names a sandbox for ever: `sb-` and 20 characters.
    SandboxId,
    "sb-"
);

id!(
    /// Names one execution of a program in a sandbox: `ex-` and 20 characters.
    ExecId,
    "ex-"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_random_id_parses_to_itself() {
        let id = SandboxId::random(&mut rand::rng());
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.as_str().len(), 23);
    }

    #[test]
    fn spellings_that_are_not_canonical_are_refused() {
        let id = SandboxId::random(&mut rand::rng()).to_string();
        for bad in [
            String::new(),
            "sb-".into(),
            id.to_uppercase(),
            format!("{id}."),
            format!("{id}/.."),
            format!(" {id}"),
            id.replace("sb-", "ex-"),
            id.replace("sb-", "sb-%"),
        ] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_parses_to_another_text(text: String) {
            if let Ok(id) = text.parse::<ExecId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
