//! Rule: every configuration key is on the page about configuration.
//!
//! A key is a literal of dotted words, such as `"server.host"`, in the files below
//! `crates/cli/src` whose path names `config`. Values and file names are not keys.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::{File, Tree};

const PAGE: &str = "docs/configuration.md";
const SOURCES: &str = "crates/cli/src";

/// What tells the name of a file from a key.
const FILE_ENDINGS: &[&str] = &["yaml", "yml", "json", "db", "sock", "sqlite"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let reads_config = |file: &&File| {
        file.path.strip_prefix(SOURCES).is_ok_and(|it| it.to_string_lossy().contains("config"))
            && !file.is_test()
    };
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in tree.rust().filter(reads_config) {
        for (number, key) in keys(file) {
            if page.text.contains(&format!("`{key}`")) || !seen.insert(key.clone()) {
                continue;
            }
            let message = format!("the key `{key}` is not on the page {PAGE}");
            findings.push(Finding::at(&file.path, number, message));
        }
    }
    findings
}

fn keys(file: &File) -> Vec<(usize, String)> {
    let mut keys = Vec::new();
    for (index, (line, parts)) in file.text.lines().zip(file.rust_lines()).enumerate() {
        let quotes: Vec<_> = parts.code.chars().enumerate().filter(|(_, it)| *it == '"').collect();
        for pair in quotes.chunks_exact(2) {
            let (from, to) = (pair[0].0, pair[1].0);
            let text: String = line.chars().take(to).skip(from + 1).collect();
            if is_key(&text) {
                keys.push((index + 1, text));
            }
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    let words: Vec<_> = text.split('.').collect();
    let is_word = |word: &&str| {
        word.starts_with(|it: char| it.is_ascii_lowercase())
            && word.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    let last = words.last().copied().unwrap_or_default();
    words.len() > 1 && words.iter().all(is_word) && !FILE_ENDINGS.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_key_that_no_page_tells_of_is_found() {
        let source = "const KEYS: &[&str] = &[\"server.host\", \"limits.max_ttl\"];\n\
                      const FILE: &str = \"stacyvm.yaml\"; // \"a.b\"\n";
        let files = [("crates/cli/src/config/keys.rs", source), (PAGE, "| `server.host` | x |")];
        assert_eq!(
            found_in(check, &files),
            ["crates/cli/src/config/keys.rs:1: the key `limits.max_ttl` is not on the page \
             docs/configuration.md"]
        );
    }

    #[test]
    fn only_dotted_lowercase_words_are_keys() {
        for text in ["server.host", "auth.api_key", "providers.native.image"] {
            assert!(is_key(text), "{text}");
        }
        for text in ["server", "a..b", "Not a key.", "127.0.0.1", "config.yaml", "a.b c"] {
            assert!(!is_key(text), "{text}");
        }
    }
}
