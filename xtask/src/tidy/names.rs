//! Rule: files, modules and types are named by their noun, not by the drawer they lie in.

use super::finding::Finding;
use super::tree::{File, Tree};

const DRAWERS: &[&str] = &["util", "utils", "common", "helpers", "misc", "manager", "managers"];
const NAMED: &[&str] = &["rs", "py", "sql", "ts", "tsx"];
const NAMING: &[&str] = &["mod", "struct", "enum", "trait", "union", "type"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let paths = tree.files().filter(|file| NAMED.iter().any(|it| file.is(it)));
    let in_paths = paths.filter_map(check_path);
    in_paths.chain(tree.rust().flat_map(check_items)).collect()
}

fn check_path(file: &File) -> Option<Finding> {
    let stem = file.path.with_extension("");
    let part = stem.iter().find_map(|part| drawer(&part.to_string_lossy()))?;
    Some(Finding::of(&file.path, message(&part)))
}

fn check_items(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.rust_lines().iter().enumerate() {
        let is_word = |it: char| it.is_alphanumeric() || it == '_';
        let words: Vec<_> =
            line.code.split(|it| !is_word(it)).filter(|word| !word.is_empty()).collect();
        let named = words.windows(2).filter(|pair| NAMING.contains(&pair[0]));
        let drawers = named.filter_map(|pair| drawer(pair[1]));
        findings.extend(drawers.map(|it| Finding::at(&file.path, index + 1, message(&it))));
    }
    findings
}

fn message(drawer: &str) -> String {
    format!("`{drawer}` is a drawer, not a noun: name what is in it")
}

/// The last word of a snake- or camel-case name, when it is one that says nothing.
fn drawer(name: &str) -> Option<String> {
    let begins = name.rfind(|it: char| it.is_uppercase() || matches!(it, '_' | '-')).unwrap_or(0);
    let last = name[begins..].trim_start_matches(['_', '-']).to_lowercase();
    DRAWERS.contains(&last.as_str()).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_drawer_in_a_path_is_found() {
        let samples = ["a/util.rs", "common/b.rs", "src/string_utils.rs", "src/helpers/c.py"];
        for path in samples {
            assert_eq!(found_in(check, &[(path, "")]).len(), 1, "{path}");
        }
        assert_eq!(
            found_in(check, &[("a/misc.rs", "")]),
            ["a/misc.rs:1: `misc` is a drawer, not a noun: name what is in it"]
        );
    }

    #[test]
    fn a_drawer_in_code_is_found_but_not_in_words_about_it() {
        let text =
            "// mod util\nmod util {}\npub struct SandboxManager;\nlet a = \"mod common\";\n";
        let found = found_in(check, &[("a.rs", text)]);
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("a.rs:2: `util`") && found[1].starts_with("a.rs:3: `manager`")
        );
    }

    #[test]
    fn words_that_only_contain_a_drawer_are_nouns() {
        for path in ["a/utilisation.rs", "a/uncommon.rs", "a/common_name.rs", "a/helper.rs"] {
            assert!(found_in(check, &[(path, "struct Common1;")]).is_empty(), "{path}");
        }
    }
}
