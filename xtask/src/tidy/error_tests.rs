//! Rule: every reason that an error can carry is met in a test, or it is said here why not.
//!
//! A reason is met where the text of a test names it, as `Reason::NoSpace` or `"no_space"`. The
//! model's own tests of the table do not count: they name all of it and produce nothing.

use std::path::Path;

use model::reason::Reason;

use super::finding::Finding;
use super::tree::{File, Tree};

/// Where the reasons are listed, and the crate whose tests do not count.
const REASONS: &str = "crates/model/src/reason.rs";
const MODEL: &str = "crates/model";

/// Reasons without a test, and why. The list may only shrink.
const UNTESTED: &[(Reason, &str)] =
    &[(Reason::Overloaded, "nothing refuses for want of room yet: connections wait")];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let tests: Vec<_> = tree.rust().filter(|file| counts(file)).map(test_text).collect();
    let is_met = |reason: Reason| tests.iter().any(|text| names(text, reason));
    let finding = |message| Finding::of(Path::new(REASONS), message);
    let reasons = Reason::ALL.iter().copied();
    let wrong = reasons.filter_map(|reason| {
        let listed = UNTESTED.iter().any(|(it, _)| *it == reason);
        let word = reason.word();
        match (is_met(reason), listed) {
            (false, false) => Some(format!("`{word}` is met in no test")),
            (true, true) => Some(format!("`{word}` is met in a test: take it off UNTESTED")),
            (true, false) | (false, true) => None,
        }
    });
    wrong.map(finding).collect()
}

fn counts(file: &File) -> bool {
    !file.path.starts_with(MODEL) && !file.path.starts_with("xtask")
}

/// The part of a Rust file that is tests.
fn test_text(file: &File) -> &str {
    if file.is_test() {
        return &file.text;
    }
    file.text.find("#[cfg(test)]").map_or("", |at| &file.text[at..])
}

fn names(text: &str, reason: Reason) -> bool {
    let variant = format!("Reason::{reason:?}");
    let ends = |at: usize| !text[at + variant.len()..].starts_with(char::is_alphanumeric);
    text.contains(&format!("\"{}\"", reason.word()))
        || text.match_indices(&variant).any(|(at, _)| ends(at))
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let about = ["`no_space`", "`sandbox_gone`", "`overloaded`"];
        let lines = found_in(check, files).into_iter();
        lines.filter(|line| about.iter().any(|word| line.contains(word))).collect()
    }

    #[test]
    fn a_reason_that_only_code_names_is_found() {
        let code = "fn f() { Reason::NoSpace; Reason::SandboxGone; }\n";
        let tested = "#[cfg(test)]\nmod tests { fn t() { Reason::SandboxGone; } }\n";
        assert_eq!(
            found(&[("crates/engine/src/a.rs", &format!("{code}{tested}"))]),
            ["crates/model/src/reason.rs:1: `no_space` is met in no test"]
        );
        let by_word = ("crates/server/tests/http/a.rs", "\"no_space\" Reason::SandboxGone");
        assert!(found(&[by_word]).is_empty());
    }

    #[test]
    fn a_reason_that_is_met_may_not_be_listed_as_untested() {
        let text = "\"no_space\" \"sandbox_gone\" \"overloaded\"";
        assert_eq!(
            found(&[("tests/e2e/tests/a.rs", text)]),
            ["crates/model/src/reason.rs:1: `overloaded` is met in a test: take it off UNTESTED"]
        );
    }

    #[test]
    fn the_models_tests_of_the_table_do_not_count() {
        assert_eq!(
            found(&[("crates/model/src/tests.rs", "\"no_space\" \"sandbox_gone\"")]).len(),
            2
        );
    }
}
