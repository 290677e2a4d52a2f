//! Rule: every promise on the page of contracts names the tests that prove it, and they exist.
//!
//! A promise is a row `| id | promise | proof |` of a table. Its proof is names of tests in
//! backquotes, or `*pending*` for what is listed below. Knows a test by `fn` below a `test`
//! attribute in Rust and by `def` in Python; whether it proves the promise is for reviewers.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::{File, Tree};

const PAGE: &str = "docs/contracts.md";

/// What stands for the proof of a promise whose test is being written.
const MARK: &str = "*pending*";

/// The promises that may have no proof yet. The list may only shrink.
const PENDING: &[&str] = &["exec.image_root", "errors.sdk"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    check_page(tree, PENDING)
}

fn check_page(tree: &Tree, pending: &[&str]) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let tests = tests(tree);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut unproved = BTreeSet::new();
    for (number, row) in rows(page) {
        let mut found = |message| findings.push(Finding::at(&page.path, number, message));
        let Row { id, proof } = row;
        if !seen.insert(id) {
            found(format!("the promise `{id}` is there twice"));
        }
        if proof.contains(MARK) {
            unproved.insert(id);
            if !pending.contains(&id) {
                found(format!("the promise `{id}` has no proof, and is not one that may wait"));
            }
            continue;
        }
        let names: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            found(format!("the promise `{id}` names no test"));
        }
        for name in names.iter().filter(|name| !tests.contains(**name)) {
            found(format!("there is no test `{name}`"));
        }
    }
    let stale = pending.iter().filter(|id| !unproved.contains(**id));
    findings.extend(stale.map(|id| {
        Finding::of(PAGE, format!("the promise `{id}` waits for no proof: take it off PENDING"))
    }));
    findings
}

struct Row<'a> {
    id: &'a str,
    proof: &'a str,
}

/// The rows of all tables on the page, without their heads.
fn rows(page: &File) -> Vec<(usize, Row<'_>)> {
    let mut rows = Vec::new();
    let mut in_body = false;
    for (index, line) in page.text.lines().enumerate() {
        let line = line.trim();
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_body = false;
            continue;
        };
        if cells.chars().all(|it| matches!(it, '-' | '|' | ':' | ' ')) {
            in_body = true;
        } else if in_body {
            let mut cells = cells.split('|').map(str::trim);
            let id = cells.next().unwrap_or_default();
            rows.push((index + 1, Row { id, proof: cells.next_back().unwrap_or_default() }));
        }
    }
    rows
}

/// The names of all tests there are.
fn tests(tree: &Tree) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for file in tree.rust() {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[") {
                let attribute = line.trim_start_matches("#[");
                is_test |= attribute.starts_with("test]") || attribute.starts_with("tokio::test");
            } else if let Some(name) = name_after("fn ", line) {
                if is_test {
                    names.insert(name);
                }
                is_test = false;
            } else if !line.starts_with("//") {
                is_test = false;
            }
        }
    }
    let python = tree.files().filter(|file| file.is("py"));
    names.extend(python.flat_map(|file| file.text.lines()).filter_map(|it| name_after("def ", it)));
    names
}

/// The name that `keyword` introduces on a line.
fn name_after<'a>(keyword: &str, line: &'a str) -> Option<&'a str> {
    let (before, after) = line.split_once(keyword)?;
    let is_start = before.is_empty() || before.ends_with(' ');
    let name = after.split(|it: char| !it.is_alphanumeric() && it != '_').next()?;
    (is_start && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "#[test]\nfn it_holds() {}\n\n#[tokio::test(start_paused = true)]\n\
                         // Because.\nasync fn it_lasts() {}\n\nfn it_helps() {}\n";

    fn found(rows: &str, pending: &[&str]) -> Vec<String> {
        let page = format!("# Promises\n\n| id | promise | proof |\n|---|---|---|\n{rows}");
        let python = "class T:\n    def test_it_works(self):\n";
        let files = [(PAGE, page.as_str()), ("crates/a/src/b.rs", TESTS), ("tests/c.py", python)];
        let findings = check_page(&Tree::of(&files), pending);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_promise_with_tests_that_exist_is_kept() {
        let rows = "| a.b | It works. | `it_holds`, `it_lasts`, `test_it_works` |\n";
        assert!(found(rows, &[]).is_empty());
    }

    #[test]
    fn a_name_that_is_no_test_is_found() {
        let rows = "| a.b | It works. | `it_holds`, `it_helps` |\n| a.c | So. | `it_is_gone` |\n";
        assert_eq!(
            found(rows, &[]),
            [
                "docs/contracts.md:5: there is no test `it_helps`",
                "docs/contracts.md:6: there is no test `it_is_gone`",
            ]
        );
    }

    #[test]
    fn a_promise_without_a_proof_or_told_twice_is_found() {
        let rows = "| a.b | It works. | |\n| a.b | It works. | `it_holds` |\n";
        assert_eq!(
            found(rows, &[]),
            [
                "docs/contracts.md:5: the promise `a.b` names no test",
                "docs/contracts.md:6: the promise `a.b` is there twice",
            ]
        );
    }

    #[test]
    fn only_what_is_listed_may_wait_and_only_while_it_does() {
        let rows = "| a.b | It works. | *pending* |\n| a.c | So. | *pending* |\n";
        assert_eq!(
            found(rows, &["a.b", "a.d"]),
            [
                "docs/contracts.md:6: the promise `a.c` has no proof, and is not one that may wait",
                "docs/contracts.md:1: the promise `a.d` waits for no proof: take it off PENDING",
            ]
        );
    }
}
