//! One broken rule at one place. Made by the rules, printed by `tidy`.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place, and what is wrong there in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the root of the workspace.
    path: PathBuf,
    /// Counted from 1; 1 also stands for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    /// A finding at a line, counted from 1.
    pub fn at(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }

    /// A finding about a file as a whole.
    pub fn of(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::at(path.as_ref(), 1, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// What a rule found in a tree made of one file, as a person sees it.
#[cfg(test)]
pub fn found_in(
    rule: fn(&super::tree::Tree) -> Vec<Finding>,
    files: &[(&str, &str)],
) -> Vec<String> {
    rule(&super::tree::Tree::of(files)).iter().map(ToString::to_string).collect()
}
