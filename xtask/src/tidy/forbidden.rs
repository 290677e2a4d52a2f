//! Rule: nothing unfinished, silenced, skipped or decorated.
//!
//! Clippy finds some of this in code that it compiles; this reads every file, whatever its
//! features and targets.

use super::finding::Finding;
use super::tree::{File, Tree};

/// What may not stand in Rust code, and what to do instead.
const IN_CODE: &[(&str, &str)] = &[
    ("#[allow(", "write `#[expect(lint, reason = \"...\")]`"),
    ("#![allow(", "write `#![expect(lint, reason = \"...\")]`"),
    ("todo!", "finish it or leave it out"),
    ("unimplemented!", "answer with a typed error instead"),
    ("#[ignore", "a test that does not run is no test: mend it or remove it"),
];

/// What may not stand in a comment: a plan belongs to an issue.
const IN_COMMENTS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// What may not stand in a Python test: a missing runtime is a failure.
const IN_PYTHON: &[&str] =
    &["pytest.skip", "mark.skip", "unittest.skip", "skipTest", "importorskip"];

/// A comment of at least this many equal signs in a row is a banner.
const BANNER_CHARS_MIN: usize = 4;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let python = tree.files().filter(|file| file.is("py")).flat_map(check_python);
    tree.rust().flat_map(check_rust).chain(python).collect()
}

fn check_rust(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.rust_lines().iter().enumerate() {
        let mut add = |message: String| findings.push(Finding::at(&file.path, index + 1, message));
        for (text, instead) in IN_CODE {
            if line.code.contains(text) {
                add(format!("`{text}` is not used here: {instead}"));
            }
        }
        if line.code.contains("cfg_attr(") && line.code.contains(" allow(") {
            add("`allow` is not used here: write `expect(lint, reason = \"...\")`".into());
        }
        if let Some(word) = marker(&line.comment) {
            add(format!("`{word}` in a comment: a plan belongs to an issue"));
        }
        if is_banner(&line.comment) {
            add("a banner: a file that needs one wants to be two files".into());
        }
    }
    findings
}

fn check_python(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut add = |message: String| findings.push(Finding::at(&file.path, index + 1, message));
        if let Some(text) = IN_PYTHON.iter().find(|text| line.contains(**text)) {
            add(format!("`{text}`: a missing runtime is a failure, not a skip"));
        }
        if let Some(word) = line.split_once('#').and_then(|(_, comment)| marker(comment)) {
            add(format!("`{word}` in a comment: a plan belongs to an issue"));
        }
    }
    findings
}

fn marker(comment: &str) -> Option<&'static str> {
    let words = comment.split(|it: char| !it.is_alphanumeric());
    words.into_iter().find_map(|word| IN_COMMENTS.iter().find(|it| **it == word)).copied()
}

/// Comments in the documentation may draw tables and state machines; plain ones may not.
fn is_banner(comment: &str) -> bool {
    let Some(text) = comment.trim().strip_prefix("//") else { return false };
    if text.starts_with(['/', '!']) {
        return false;
    }
    let text = text.trim();
    ["-", "=", "*", "#", "~"].iter().any(|sign| {
        let run = sign.repeat(BANNER_CHARS_MIN);
        text.starts_with(&run) || text.ends_with(&run)
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn what_is_forbidden_in_code_is_found() {
        let samples = [
            "#[allow(dead_code)]",
            "#![allow(unused)]",
            "fn a() { todo!() }",
            "unimplemented!(\"later\")",
            "#[ignore = \"slow\"]",
            "#[cfg_attr(test, allow(dead_code))]",
            "// TODO: more",
            "let a = 1; // FIXME",
            "// ------ parsing ------",
            "// ======",
        ];
        for sample in samples {
            assert_eq!(found_in(check, &[("a.rs", sample)]).len(), 1, "{sample}");
        }
    }

    #[test]
    fn the_same_words_elsewhere_are_fine() {
        let samples = [
            "let a = \"#[allow(dead_code)] todo!()\";",
            "// The todo! macro is not used.",
            "//! | a | b |\n//! |----|----|",
            "#[expect(dead_code, reason = \"read by the test\")]",
            "fn allow(rule: Rule) {}",
            "// A range a..=b -- and so on.",
        ];
        for sample in samples {
            assert_eq!(found_in(check, &[("a.rs", sample)]), [""; 0], "{sample}");
        }
    }

    #[test]
    fn a_python_test_is_not_skipped() {
        let found = found_in(check, &[("tests/python/a.py", "x = 1\n@pytest.mark.skip\n")]);
        assert_eq!(
            found,
            ["tests/python/a.py:2: `mark.skip`: a missing runtime is a failure, not a skip"]
        );
    }
}
