//! The last lines of all that execs printed, for people who ask what happened in the sandbox.
//! Not a replay of any one exec (that is its rings). Pumps write it, a connection reads it.

use std::sync::Mutex;

use crate::hold::hold;
use crate::ring::Ring;

/// Bytes of console that are kept: a few screens, small beside the sandbox's own limit.
const CONSOLE_BYTES: usize = 64 * 1024;

/// Bytes of an unfinished line that a cutter holds back; a longer line is cut in pieces.
const PARTIAL_LINE_BYTES: usize = 4096;

/// Bytes of text that one answer carries at most. Escaped as JSON no character here takes more
/// than six times its size, so the answer stays below the largest payload.
const ANSWER_BYTES: usize = 40 * 1024;

/// A bounded ring of lines.
#[derive(Debug)]
pub struct Console(Mutex<Ring>);

impl Console {
    pub const fn new() -> Self {
        Self(Mutex::new(Ring::new(CONSOLE_BYTES)))
    }

    /// Adds a line that the agent itself has to say.
    pub fn note(&self, line: &str) {
        let mut ring = hold(&self.0);
        ring.push(line.as_bytes());
        ring.push(b"\n");
    }

    /// The last lines, oldest first, at most `count`.
    pub fn last(&self, count: u32) -> Vec<String> {
        let mut bytes = Vec::new();
        {
            let ring = hold(&self.0);
            ring.copy_from(ring.start(), CONSOLE_BYTES, &mut bytes);
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut room = ANSWER_BYTES;
        let mut lines = Vec::new();
        for line in bytes.rsplit(|byte| *byte == b'\n') {
            // A terminal ends its lines with both.
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let text = String::from_utf8_lossy(line).into_owned();
            if lines.len() >= count as usize || text.len() + 1 > room {
                break;
            }
            room -= text.len() + 1;
            lines.push(text);
        }
        lines.reverse();
        lines
    }
}

/// Gives the console whole lines of one output stream, so that streams do not mix within a line.
#[derive(Debug, Default)]
pub struct LineCutter {
    partial: Vec<u8>,
}

impl LineCutter {
    /// Adds output; what follows the last line end is held back.
    pub fn push(&mut self, console: &Console, data: &[u8]) {
        let lines_end = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, tail) = data.split_at(lines_end);
        if !lines.is_empty() {
            let mut ring = hold(&console.0);
            ring.push(&self.partial);
            ring.push(lines);
            self.partial.clear();
        }
        if self.partial.len() + tail.len() > PARTIAL_LINE_BYTES {
            let keep = &tail[tail.len().saturating_sub(CONSOLE_BYTES)..];
            let mut ring = hold(&console.0);
            ring.push(&self.partial);
            ring.push(keep);
            ring.push(b"\n");
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(tail);
        }
    }

    /// Ends the last line.
    pub fn finish(&mut self, console: &Console) {
        if !self.partial.is_empty() {
            let mut ring = hold(&console.0);
            ring.push(&self.partial);
            ring.push(b"\n");
            self.partial = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_streams_do_not_mix() {
        let console = Console::new();
        let (mut one, mut two) = (LineCutter::default(), LineCutter::default());
        one.push(&console, b"hel");
        two.push(&console, b"wor");
        one.push(&console, b"lo\nrest");
        two.push(&console, b"ld\n");
        one.finish(&console);
        assert_eq!(console.last(10), ["hello", "world", "rest"]);
        assert_eq!(console.last(1), ["rest"]);
    }

    #[test]
    fn a_flood_leaves_a_bounded_answer() {
        let console = Console::new();
        let mut cutter = LineCutter::default();
        cutter.push(&console, &vec![0xff; 1 << 20]);
        cutter.push(&console, &b"\x01\n".repeat(1 << 16));
        let lines = console.last(u32::MAX);
        assert!(!lines.is_empty());
        assert!(serde_json::to_vec(&lines).unwrap().len() < proto::MAX_PAYLOAD);
    }
}
