//! Rule: files and lines are short enough to read.
//!
//! Functions are not measured here, because clippy does (`too_many_lines`).

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::{File, Tree};

/// A reader holds this much of one noun in mind.
const FILE_LINES_MAX: usize = 500;
/// Tests are read one at a time, so their files may be longer.
const TEST_LINES_MAX: usize = 800;
/// Two files side by side on one screen.
const LINE_COLUMNS_MAX: usize = 100;

const MEASURED: &[&str] = &["rs", "py", "sql", "ts", "tsx"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let measured = tree.files().filter(|file| MEASURED.iter().any(|it| file.is(it)));
    measured.flat_map(|file| check_file(file).into_iter().chain(check_lines(file))).collect()
}

fn check_file(file: &File) -> Option<Finding> {
    let max = if file.is_test() { TEST_LINES_MAX } else { FILE_LINES_MAX };
    let count = file.text.lines().count();
    let message = || format!("{count} lines, at most {max}: split it by its nouns");
    (count > max).then(|| Finding::at(&file.path, max + 1, message()))
}

fn check_lines(file: &File) -> Vec<Finding> {
    let excused = if file.is("rs") { lines_of_literals(file) } else { BTreeSet::new() };
    let long = file.text.lines().enumerate().filter(|(index, line)| {
        line.chars().count() > LINE_COLUMNS_MAX && !line.contains("://") && !excused.contains(index)
    });
    let finding = |(index, line): (usize, &str)| {
        let columns = line.chars().count();
        let message = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
        Finding::at(&file.path, index + 1, message)
    };
    long.map(finding).collect()
}

/// Lines that are rows of a table of texts: they begin with a literal or inside one, and breaking
/// them would only hide the text.
fn lines_of_literals(file: &File) -> BTreeSet<usize> {
    let is_literal = |code: &str| {
        let rest = code.trim_start().trim_start_matches(['b', 'c', 'r', '#']);
        rest.starts_with('"')
    };
    let lines = file.rust_lines().into_iter().enumerate();
    let literals = lines.filter(|(_, line)| line.opens_in_literal || is_literal(&line.code));
    literals.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    #[test]
    fn a_file_may_have_500_lines_and_a_test_800() {
        let lines = |count| "x\n".repeat(count);
        assert!(found_in(check, &[("a.rs", &lines(500)), ("tests/a.rs", &lines(800))]).is_empty());
        assert_eq!(
            found_in(check, &[("a.rs", &lines(501))]),
            ["a.rs:501: 501 lines, at most 500: split it by its nouns"]
        );
        assert_eq!(found_in(check, &[("tests/a.rs", &lines(801))]).len(), 1);
    }

    #[test]
    fn a_line_may_have_100_columns_unless_it_is_an_address_or_a_row_of_texts() {
        let long = "a".repeat(101);
        assert_eq!(
            found_in(check, &[("a.rs", &format!("\n{long}"))]),
            ["a.rs:2: 101 columns, at most 100"]
        );
        let excused = format!("// see https://{long}\n    \"{long}\",\nlet a = \"\n{long}\";\n");
        assert!(found_in(check, &[("a.rs", &excused)]).is_empty());
        assert!(found_in(check, &[("a.rs", &"ä".repeat(100))]).is_empty());
    }

    #[test]
    fn a_long_text_inside_a_line_of_code_is_no_excuse() {
        let line = format!("call(\"{}\")", "a".repeat(100));
        assert_eq!(found_in(check, &[("a.rs", &line)]).len(), 1);
    }
}
