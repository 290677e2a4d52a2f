//! Standard output: data and nothing else.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::failed::Failed;

/// Columns are this far apart.
const GAP: usize = 2;

/// Writes `text` to standard output. A reader that has gone away is no failure of ours.
pub fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::to("write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes `value` as JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failed::to("write the answer as JSON", &error))?;
    print(&(text + "\n"))
}

/// Says something to people, on standard error. Nobody is left to tell if that fails.
pub fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    // On a terminal that passes every key on, a line end alone does not go back to the margin.
    let _ = if stderr.is_terminal() {
        stderr.write_all(text.replace('\n', "\r\n").as_bytes())
    } else {
        stderr.write_all(text.as_bytes())
    };
}

/// Reports a failure and gives its exit code.
pub fn report(failed: &Failed, json: bool, code: u8) -> ExitCode {
    say(&failed.lines(json));
    ExitCode::from(code)
}

/// Rows as wide as their columns need.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` on one line, without anything that a terminal would obey.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["ID", "STATE", "IMAGE"]), row(["sb-1", "running", "ä"])];
        assert_eq!(table(&rows), "ID    STATE    IMAGE\nsb-1  running  ä\n");
    }

    #[test]
    fn control_characters_are_shown_and_letters_kept() {
        assert_eq!(printable("ä\t\u{7f}\u{9b}x"), "ä\\t\\u{7f}\\u{9b}x");
    }
}
