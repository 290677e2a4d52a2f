//! Where `cp` copies from or to.

use std::path::PathBuf;
use std::str::FromStr;

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path on this machine.
    Here(PathBuf),
    /// Standard input or standard output.
    Stream,
    /// A path in a sandbox.
    Sandbox {
        /// The sandbox.
        id: String,
        /// The absolute path in it.
        path: String,
    },
}

impl FromStr for Place {
    type Err = &'static str;

    /// `sb-…:/path` is in a sandbox, `-` a stream, all else here; `./sb-a:/b` is a way to name
    /// a file here that looks otherwise.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            Some((id, path)) if id.starts_with("sb-") && !id.contains('/') => {
                if !path.starts_with('/') {
                    return Err("expected an absolute path behind the sandbox: ID:/path");
                }
                Ok(Self::Sandbox { id: id.to_owned(), path: path.to_owned() })
            }
            Some(_) | None if text.is_empty() => Err("expected a path, ID:/path or -"),
            Some(_) | None => Ok(Self::Here(PathBuf::from(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_before_a_colon_is_a_sandbox() {
        let inside = |path: &str| Place::Sandbox { id: "sb-a".into(), path: path.into() };
        for (text, expected) in [
            ("sb-a:/x", inside("/x")),
            ("sb-a:/x:y", inside("/x:y")),
            ("-", Place::Stream),
            ("./sb-a:/x", Place::Here("./sb-a:/x".into())),
            ("c:/x", Place::Here("c:/x".into())),
            ("sb-a", Place::Here("sb-a".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "sb-a:x", "sb-a:"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
