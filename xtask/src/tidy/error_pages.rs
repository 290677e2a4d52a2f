//! Rule: every reason that an error can carry has a page, and every page has a reason.

use std::path::{Path, PathBuf};

use model::reason::Reason;

use super::finding::Finding;
use super::tree::Tree;

/// Where the reasons are listed.
const REASONS: &str = "crates/model/src/reason.rs";
const PAGES: &str = "docs/errors";
/// The page about the pages.
const OVERVIEW: &str = "README";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    check_pages(tree, &words)
}

fn check_pages(tree: &Tree, words: &[&str]) -> Vec<Finding> {
    let page = |word: &str| PathBuf::from(format!("{PAGES}/{word}.md"));
    let unwritten = words.iter().filter(|word| !tree.has(&page(word)));
    let mut findings: Vec<_> = unwritten
        .map(|word| {
            let message = format!("`{word}` has no page {}", page(word).display());
            Finding::at(Path::new(REASONS), line_of(tree, word), message)
        })
        .collect();
    let pages = tree.files().filter(|file| file.path.parent() == Some(Path::new(PAGES)));
    let unknown = pages.filter(|file| {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        stem != OVERVIEW && !words.contains(&stem.as_ref())
    });
    findings.extend(unknown.map(|file| Finding::of(&file.path, "no error has this reason")));
    findings
}

fn line_of(tree: &Tree, word: &str) -> usize {
    let literal = format!("\"{word}\"");
    let text = tree.file(REASONS).map_or("", |file| &file.text);
    text.lines().position(|line| line.contains(&literal)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_without_a_page_and_a_page_without_a_reason_are_found() {
        let tree = Tree::of(&[
            (
                REASONS,
                "reasons! {\n    NoSpace = \"no_space\";\n    TooLarge = \"too_large\";\n}\n",
            ),
            ("docs/errors/README.md", ""),
            ("docs/errors/no_space.md", ""),
            ("docs/errors/no_place.md", ""),
        ]);
        let findings = check_pages(&tree, &["no_space", "too_large"]);
        assert_eq!(
            findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "crates/model/src/reason.rs:3: `too_large` has no page docs/errors/too_large.md",
                "docs/errors/no_place.md:1: no error has this reason",
            ]
        );
    }

    #[test]
    fn a_tree_without_pages_lacks_one_for_each_reason() {
        assert_eq!(check(&Tree::of(&[])).len(), Reason::ALL.len());
    }
}
