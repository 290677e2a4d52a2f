//! Rule: a Rust file opens with what it is for.

use super::finding::Finding;
use super::tree::{File, Tree};

/// An opening this short cannot say what a file is for; "In progress." is one.
const OPENING_CHARS_MIN: usize = 20;

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().filter_map(check_file).collect()
}

fn check_file(file: &File) -> Option<Finding> {
    let opening: Vec<_> = file.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let said: usize = opening.iter().map(|line| line.trim().chars().count()).sum();
    if said >= OPENING_CHARS_MIN {
        return None;
    }
    let message = "open the file with `//!`: what it is for, what it is not for, who calls it";
    Some(Finding::of(&file.path, message))
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_file_without_an_opening_is_found() {
        let expected =
            ["a.rs:1: open the file with `//!`: what it is for, what it is not for, who calls it"];
        assert_eq!(
            found_in(check, &[("a.rs", "use std::fs;\n//! Too late to say so.\n")]),
            expected
        );
        assert_eq!(found_in(check, &[("a.rs", "//! In progress.\n")]), expected);
        assert_eq!(found_in(check, &[("a.rs", "")]), expected);
    }

    #[test]
    fn an_opening_before_everything_else_is_enough() {
        let text = "//! Parses ids of sandboxes.\nuse std::fs;\n";
        assert!(found_in(check, &[("a.rs", text)]).is_empty());
    }
}
