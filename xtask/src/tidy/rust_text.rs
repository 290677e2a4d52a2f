//! Tells the code of a Rust file from its comments and literals, line by line.
//!
//! Just enough of a lexer that a rule about code is not set off by a word in a string, and a rule
//! about comments not by code. It is not a parser, and wrong input gives odd lines, never a panic.
//!
//! ```text
//!          "          /* (deeper)
//!   Text <---> Code <---> BlockComment
//!             ^  ^
//!        r#"  |  |  // until the end of the line
//!   RawText <-+  +-> LineComment
//! ```

/// One line, split by what its characters are. Columns are kept: what belongs to another part is
/// a space.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Code, with the quotes of literals but not their contents.
    pub code: String,
    /// Comments, with their slashes.
    pub comment: String,
    /// Whether the line begins inside a literal that an earlier line opened.
    pub opens_in_literal: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Text,
    RawText { hashes: usize },
}

/// Splits a whole file.
pub fn lines(text: &str) -> Vec<Line> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        state: State::Code,
        line: Line::default(),
        lines: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    if lexer.line != Line::default() {
        lexer.end_line();
    }
    lexer.lines
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    state: State,
    line: Line,
    lines: Vec<Line>,
}

impl Lexer {
    fn step(&mut self) {
        if self.peek(0) == '\n' {
            self.at += 1;
            self.end_line();
            return;
        }
        match self.state {
            State::Code => self.step_in_code(),
            State::LineComment => self.comment(1),
            State::BlockComment { depth } => self.step_in_block_comment(depth),
            State::Text => self.step_in_text(),
            State::RawText { hashes } => self.step_in_raw_text(hashes),
        }
    }

    fn step_in_code(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                self.state = State::LineComment;
                self.comment(2);
            }
            ('/', '*') => {
                self.state = State::BlockComment { depth: 1 };
                self.comment(2);
            }
            ('"', _) => {
                self.state = State::Text;
                self.code(1);
            }
            ('\'', '\\') => {
                self.code(1);
                self.blank(2);
                while !matches!(self.peek(0), '\'' | '\n' | '\0') {
                    self.blank(1);
                }
                self.code(1);
            }
            ('\'', _) if self.peek(2) == '\'' => {
                self.code(1);
                self.blank(1);
                self.code(1);
            }
            ('r', '#' | '"') => self.begin_raw_text(),
            _ => self.code(1),
        }
    }

    /// `r"` and `r#"` open a raw literal; `r#name` and the `r` that ends a word do not.
    fn begin_raw_text(&mut self) {
        let hashes = self.chars[self.at + 1..].iter().take_while(|&&it| it == '#').count();
        let before = self.at.checked_sub(1).map_or(' ', |index| self.chars[index]);
        let begins = matches!(before, 'b' | 'c') || !(before.is_alphanumeric() || before == '_');
        if begins && self.peek(1 + hashes) == '"' {
            self.state = State::RawText { hashes };
            self.code(2 + hashes);
        } else {
            self.code(1);
        }
    }

    fn step_in_block_comment(&mut self, depth: u32) {
        match (self.peek(0), self.peek(1)) {
            ('/', '*') => {
                self.state = State::BlockComment { depth: depth + 1 };
                self.comment(2);
            }
            ('*', '/') => {
                let outer = State::BlockComment { depth: depth - 1 };
                self.state = if depth == 1 { State::Code } else { outer };
                self.comment(2);
            }
            _ => self.comment(1),
        }
    }

    fn step_in_text(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('\\', '\n') => self.blank(1),
            ('\\', _) => self.blank(2),
            ('"', _) => {
                self.state = State::Code;
                self.code(1);
            }
            _ => self.blank(1),
        }
    }

    fn step_in_raw_text(&mut self, hashes: usize) {
        let ends = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
        if ends {
            self.state = State::Code;
            self.code(1 + hashes);
        } else {
            self.blank(1);
        }
    }

    fn end_line(&mut self) {
        if self.state == State::LineComment {
            self.state = State::Code;
        }
        let opens_in_literal = match self.state {
            State::Text | State::RawText { .. } => true,
            State::Code | State::LineComment | State::BlockComment { .. } => false,
        };
        let next = Line { opens_in_literal, ..Line::default() };
        self.lines.push(std::mem::replace(&mut self.line, next));
    }

    /// The character that many places ahead; NUL past the end.
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn code(&mut self, count: usize) {
        self.take(count, |line, it| line.code.push(it), |line| line.comment.push(' '));
    }

    fn comment(&mut self, count: usize) {
        self.take(count, |line, it| line.comment.push(it), |line| line.code.push(' '));
    }

    fn blank(&mut self, count: usize) {
        self.take(count, |line, _| line.code.push(' '), |line| line.comment.push(' '));
    }

    fn take(&mut self, count: usize, keep: fn(&mut Line, char), pad: fn(&mut Line)) {
        let end = (self.at + count).min(self.chars.len());
        for index in self.at..end {
            keep(&mut self.line, self.chars[index]);
            pad(&mut self.line);
        }
        self.at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code.trim_end().to_owned()).collect()
    }

    #[test]
    fn words_in_literals_are_not_code() {
        assert_eq!(code(r#"let a = "x \" y"; b"#), [r#"let a = "      "; b"#]);
        assert_eq!(code("r#\"a\" b\"# c"), ["r#\"    \"# c"]);
        assert_eq!(
            code(r"let q = '\''; let l: &'a str; '/'"),
            [r"let q = '  '; let l: &'a str; ' '"]
        );
    }

    #[test]
    fn comments_are_kept_apart_and_may_nest() {
        assert_eq!(code("a // b\nc /* d /* e */ f */ g"), ["a", "c                   g"]);
        assert_eq!(lines("a // b")[0].comment, "  // b");
    }

    #[test]
    fn a_literal_over_several_lines_is_seen_at_each() {
        let lines = lines("let a = \"one\ntwo\n\"; b");
        let opens: Vec<_> = lines.iter().map(|line| line.opens_in_literal).collect();
        assert_eq!(opens, [false, true, true]);
        assert_eq!(lines[2].code, "\"; b");
    }

    #[test]
    fn a_raw_name_is_not_a_literal() {
        assert_eq!(code("r#type; for r in x"), ["r#type; for r in x"]);
    }

    #[test]
    fn a_file_that_ends_in_the_middle_of_something_is_no_panic() {
        for text in ["\"", "'\\", "/*", "r##\"", "r#", "'", "\\"] {
            assert_eq!(lines(text).len(), 1, "{text}");
        }
    }
}
