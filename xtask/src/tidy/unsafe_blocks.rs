//! Rule: unsafe code is in its two places, and each block says why it is sound.
//!
//! The lints forbid it in all other crates; this counts the files within those two, and reads the
//! comments.

use super::finding::Finding;
use super::rust_text::Line;
use super::tree::{File, Tree};

/// May hold unsafe code in any of its files.
const PRIVILEGED: &str = "crates/jail";
/// May hold unsafe code in one file.
const GUEST: &str = "crates/agent";

/// The word that begins the reason.
const REASON: &str = "SAFETY:";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut guest = None;
    for file in tree.rust() {
        let lines = file.rust_lines();
        let Some(first) = lines.iter().position(uses_unsafe) else { continue };
        let mut misplaced = |message: String| {
            findings.push(Finding::at(&file.path, first + 1, message));
        };
        if file.path.starts_with(GUEST) {
            let place = guest.get_or_insert(&file.path);
            if *place != &file.path {
                let place = place.display();
                misplaced(format!("unsafe code of the agent belongs into one file: {place}"));
            }
        } else if !file.path.starts_with(PRIVILEGED) {
            misplaced(format!("unsafe code belongs into {PRIVILEGED}"));
        }
        findings.extend(check_reasons(file, &lines));
    }
    findings
}

fn check_reasons(file: &File, lines: &[Line]) -> Vec<Finding> {
    let opens = |line: &Line| {
        let words = line.code.split_once("unsafe ").map(|(_, rest)| rest.trim_start());
        words.is_some_and(|rest| rest.starts_with('{') || rest.starts_with("impl"))
    };
    let blocks = lines.iter().enumerate().filter(|(_, line)| opens(line));
    let silent = blocks.filter(|(index, _)| !has_reason(&lines[..=*index]));
    let message = "say why this is sound in a comment above it that begins with `SAFETY:`";
    silent.map(|(index, _)| Finding::at(&file.path, index + 1, message)).collect()
}

/// The reason stands on the line itself or in the comment above the statement it belongs to.
fn has_reason(lines: &[Line]) -> bool {
    let ends_another = |line: &Line| line.code.trim_end().ends_with([';', '}']);
    for (above, line) in lines.iter().rev().enumerate() {
        if line.comment.contains(REASON) {
            return true;
        }
        let blank = line.code.trim().is_empty() && line.comment.trim().is_empty();
        if above > 0 && (blank || ends_another(line)) {
            return false;
        }
    }
    false
}

fn uses_unsafe(line: &Line) -> bool {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    line.code.split(|it| !is_word(it)).any(|word| word == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    const SOUND: &str = "// SAFETY: the descriptor is open.\nlet a =\n    unsafe { close(fd) };\n";

    #[test]
    fn a_block_without_its_reason_is_found() {
        let text = format!("{SOUND}let b = unsafe {{ close(fd) }};\n");
        assert_eq!(
            found_in(check, &[("crates/jail/src/sys.rs", &text)]),
            ["crates/jail/src/sys.rs:4: say why this is sound in a comment above it that begins \
             with `SAFETY:`"]
        );
    }

    #[test]
    fn unsafe_code_elsewhere_is_found() {
        let files = [
            ("crates/agent/src/a.rs", SOUND),
            ("crates/agent/src/b.rs", SOUND),
            ("crates/engine/src/c.rs", SOUND),
            ("crates/engine/src/d.rs", "#![forbid(unsafe_code)] // unsafe\n"),
            ("crates/jail/src/e.rs", SOUND),
        ];
        assert_eq!(
            found_in(check, &files),
            [
                "crates/agent/src/b.rs:3: unsafe code of the agent belongs into one file: \
             crates/agent/src/a.rs",
                "crates/engine/src/c.rs:3: unsafe code belongs into crates/jail",
            ]
        );
    }
}
