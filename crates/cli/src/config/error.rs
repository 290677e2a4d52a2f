//! Why a configuration is refused. No text here ever holds a secret's value.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any configuration.
    #[error("read {}: a configuration has at most {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is not YAML.
    #[error("read {}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// There is no such key.
    #[error("read {origin}: unknown key `{key}`{}", suggestion(nearest.as_ref()))]
    UnknownKey {
        /// The file or the environment.
        origin: String,
        /// The key, or the variable's name.
        key: String,
        /// The key that is spelled nearly so.
        nearest: Option<String>,
    },
    /// A key is given twice: once as sections, once with dots.
    #[error("read {origin}: `{key}` is given twice")]
    Twice {
        /// The file.
        origin: String,
        /// The key.
        key: String,
    },
    /// A value is not what its key takes.
    #[error("read {origin}: `{key}`: expected {expected}, found {found}")]
    Value {
        /// The file or the environment.
        origin: String,
        /// The key, or the variable's name.
        key: String,
        /// What the key takes.
        expected: &'static str,
        /// What there is instead; of a secret, only that it is not it.
        found: String,
    },
    /// A secret is given both as a value and as a file.
    #[error("choose between `auth.api_key` and `auth.api_key_file`: both are set")]
    TwoSecrets,
    /// A file with a secret cannot be read.
    #[error("read the key in {} (auth.api_key_file)", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Every provider is switched off.
    #[error("make sandboxes: no provider is enabled")]
    NoProvider,
    /// The limits contradict each other.
    #[error("use `{key}`: it is above `{limit}`")]
    AboveLimit {
        /// The key that is too large.
        key: &'static str,
        /// The key that it may not be above.
        limit: &'static str,
    },
}

impl ConfigError {
    /// The way out, for people.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the path and its permissions",
            Self::TooLarge { .. } | Self::Syntax { .. } => {
                "the file is YAML: sections, keys and values; docs/configuration.md has an example"
            }
            Self::UnknownKey { .. } => "docs/configuration.md lists every key",
            Self::Twice { .. } | Self::TwoSecrets => "remove one of them",
            Self::Value { .. } => "docs/configuration.md describes every key",
            Self::SecretFile { .. } => {
                "the file holds the key and nothing else, and is readable by the server"
            }
            Self::NoProvider => "set `providers.native.enabled` to true",
            Self::AboveLimit { .. } => "lower the one or raise the other",
        }
    }
}

fn suggestion(nearest: Option<&String>) -> String {
    nearest.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}
