//! Rule: every crate takes its lints from the workspace, and the shared list of crates is sorted.
//!
//! Reads the manifests as text: the few lines it looks at have one form. What crates may depend on
//! is the rule of `edges`.

use super::finding::Finding;
use super::tree::{File, Tree};

/// The two crates that hold `unsafe` code set their own lints.
const OWN_LINTS: &[&str] = &["crates/agent/Cargo.toml", "crates/jail/Cargo.toml"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| file.path.ends_with("Cargo.toml")) {
        findings.extend(if file.path.iter().count() == 1 {
            check_sorted(file)
        } else {
            check_lints(file).into_iter().collect()
        });
    }
    findings
}

fn check_lints(file: &File) -> Option<Finding> {
    let own = OWN_LINTS.iter().any(|path| file.path.as_os_str() == *path);
    let inherited = section(file, "[lints]").any(|(_, line)| line == "workspace = true");
    let message = "take the lints from the workspace: `[lints]` with `workspace = true`";
    (!own && !inherited).then(|| Finding::of(&file.path, message))
}

/// Within each block that blank lines set apart, names go up.
fn check_sorted(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut before = "";
    for (number, line) in section(file, "[workspace.dependencies]") {
        let name = line.split([' ', '=']).next().unwrap_or_default();
        if !name.is_empty() && name < before {
            let message = format!("`{name}` comes before `{before}` in a sorted list");
            findings.push(Finding::at(&file.path, number, message));
        }
        before = name;
    }
    findings
}

/// The numbered lines between this heading and the next, without comments.
fn section<'a>(file: &'a File, heading: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = file.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let from = lines.skip_while(move |(_, line)| *line != heading).skip(1);
    from.take_while(|(_, line)| !line.starts_with('[')).filter(|(_, line)| !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_crate_with_lints_of_its_own_is_found_unless_it_holds_unsafe_code() {
        let own = "[lints.rust]\nunsafe_code = \"deny\"\n";
        assert_eq!(
            found_in(check, &[("crates/model/Cargo.toml", own)]),
            ["crates/model/Cargo.toml:1: take the lints from the workspace: `[lints]` with \
             `workspace = true`"]
        );
        let taken = "[package]\n\n[lints]\nworkspace = true\n";
        let files = [("crates/jail/Cargo.toml", own), ("crates/model/Cargo.toml", taken)];
        assert!(found_in(check, &files).is_empty());
    }

    #[test]
    fn the_list_of_crates_is_sorted_within_its_blocks() {
        let text = "[workspace.dependencies]\nzed = { path = \"z\" }\n\nb = \"1\"\na = \"1\"\n";
        assert_eq!(
            found_in(check, &[("Cargo.toml", text)]),
            ["Cargo.toml:5: `a` comes before `b` in a sorted list"]
        );
    }
}
