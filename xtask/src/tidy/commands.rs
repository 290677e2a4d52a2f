//! Rule: a page names only those commands of ours that exist.
//!
//! Reads whole pages, fenced code included, because that is where commands stand.

use clap::CommandFactory as _;

use super::finding::Finding;
use super::tree::Tree;

/// How the commands are called in the pages.
const CALL: &str = "cargo xtask ";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let known = crate::Arguments::command();
    let mut findings = Vec::new();
    for page in tree.files().filter(|file| file.is("md")) {
        for (index, line) in page.text.lines().enumerate() {
            let called = line.split(CALL).skip(1).map(first_word);
            let unknown = called.filter(|name| known.find_subcommand(name).is_none());
            findings.extend(unknown.map(|name| {
                let message = format!("there is no command `{CALL}{name}`");
                Finding::at(&page.path, index + 1, message)
            }));
        }
    }
    findings
}

fn first_word(text: &str) -> &str {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '-').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        let text = "Run `cargo xtask tidy`,\nthen `cargo xtask polish --all`.\n";
        assert_eq!(
            found_in(check, &[("README.md", text)]),
            ["README.md:2: there is no command `cargo xtask polish`"]
        );
    }
}
