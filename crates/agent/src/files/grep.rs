//! Finding lines. A regular expression that takes linear time, over files that are no binaries; it
//! follows no link, and is bounded in lines, text, files and time.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use archive::Walk;
use archive::walk::Step;
use proto::{EntryKind, Found, GuestErrorKind};
use regex_lite::{Regex, RegexBuilder};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::list::kind_of;
use super::path::{GuestPath, Root};
use super::pattern::Pattern;
use super::read::regular;
use super::{Answer, Refusal, fail, over_limit, refusal};
use crate::stream::Stream;

/// Lines at most, whatever is asked for: they are held before they are sent.
const LINES_MAX: u32 = 10_000;

/// Bytes of text in all of them together.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a line that are told.
const LINE_TEXT_MAX: usize = 4 * 1024;

/// Bytes of a line that are searched; what is behind them in the line is not.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A file with a NUL in its first bytes is a binary, and is left out.
const HEAD_BYTES: usize = 8 * 1024;

/// Files that one search looks into.
const FILES_MAX: u64 = 1_000_000;

/// How long one search may take; a caller waits for all of it.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The largest compiled expression in bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// How deep an expression may be nested, and the stack on which it is compiled.
const REGEX_DEPTH_MAX: u32 = 50;
const REGEX_STACK: usize = 2 * 1024 * 1024;

/// What is searched for.
#[derive(Debug)]
pub struct Search {
    pub pattern: String,
    pub recursive: bool,
    pub ignore_case: bool,
    pub limit: u32,
    pub names: Option<String>,
}

struct Finder<'a> {
    stream: &'a Stream,
    regex: Regex,
    limit: usize,
    deadline: Instant,
    found: Vec<Found>,
    text_bytes: usize,
    files: u64,
}

/// What a search found, in the order of paths and lines.
pub fn grep(
    root: Root<'_>,
    path: &GuestPath,
    search: &Search,
    stream: &Stream,
) -> Answer<Vec<Found>> {
    let regex = compile(search)?;
    let limit = usize::try_from(search.limit.clamp(1, LINES_MAX)).unwrap_or(1);
    let mut finder = Finder {
        stream,
        regex,
        limit,
        deadline: Instant::now() + TIME_MAX,
        found: Vec::new(),
        text_bytes: 0,
        files: 0,
    };
    let failed = |error| fail(path.as_str(), error);
    match root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => finder.tree(path, dir, search)?,
        Err(Errno::NOTDIR) => {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            let file = root.open(path, flags).map_err(failed)?;
            regular(path, kind_of(&fstat(&file).map_err(failed)?))?;
            finder.file(path.as_str(), file).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    if finder.is_full() {
        finder.found.truncate(limit);
        finder.found.push(Found::Truncated);
    }
    Ok(finder.found)
}

/// Compiles the expression, on a stack of its own: that is the one part that recurses, as deep as
/// the expression is nested.
fn compile(search: &Search) -> Answer<Regex> {
    let compiling = || {
        RegexBuilder::new(&search.pattern)
            .case_insensitive(search.ignore_case)
            .size_limit(REGEX_BYTES_MAX)
            .nest_limit(REGEX_DEPTH_MAX)
            .build()
    };
    let built = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(REGEX_STACK);
        thread.spawn_scoped(scope, compiling).ok()?.join().ok()
    });
    match built {
        Some(Ok(regex)) => Ok(regex),
        Some(Err(error)) => Err(refusal(GuestErrorKind::Pattern, format!("pattern: {error}"))),
        None => Err(refusal(GuestErrorKind::Limit, "pattern: no thread is left for it")),
    }
}

impl Finder<'_> {
    /// Whether there is one line more than may be told, or too much text.
    fn is_full(&self) -> bool {
        self.found.len() > self.limit || self.text_bytes > TEXT_BYTES_MAX
    }

    fn tree(&mut self, path: &GuestPath, dir: OwnedFd, search: &Search) -> Answer<()> {
        let names = search.names.as_deref().map(Pattern::parse);
        let failed = |error: &archive::Error| said(path, error);
        let mut walk = Walk::new(dir).map_err(|error| failed(&error))?;
        while let Some(step) = walk.step().map_err(|error| failed(&error))? {
            let Step::Entry(name, stat) = step else { continue };
            match kind_of(&stat) {
                EntryKind::Directory if search.recursive => match walk.enter(&name) {
                    // What the job may not read holds nothing for it.
                    Ok(_) | Err(archive::Error::File { error: Errno::ACCESS, .. }) => {}
                    Err(error) => return Err(failed(&error)),
                },
                EntryKind::File => {
                    let text = name.to_string_lossy();
                    if names.as_ref().is_some_and(|names| !names.matches(&text)) {
                        continue;
                    }
                    self.in_time()?;
                    let file = path.join(&String::from_utf8_lossy(&walk.path_of(&name)));
                    let flags = OFlags::RDONLY
                        | OFlags::NOFOLLOW
                        | OFlags::NONBLOCK
                        | OFlags::NOCTTY
                        | OFlags::CLOEXEC;
                    let Ok(opened) = openat(walk.dir(), &name, flags, Mode::empty()) else {
                        continue;
                    };
                    let regular =
                        fstat(&opened).is_ok_and(|stat| kind_of(&stat) == EntryKind::File);
                    if regular {
                        // One that cannot be read, as some of /proc, has no lines.
                        if let Err(error @ Errno::TIMEDOUT) = self.file(&file, opened) {
                            return Err(fail(&file, error));
                        }
                    }
                    if self.is_full() {
                        return Ok(());
                    }
                }
                EntryKind::Directory | EntryKind::Symlink | EntryKind::Other => {}
            }
        }
        Ok(())
    }

    fn in_time(&mut self) -> Answer<()> {
        self.files += 1;
        if self.files > FILES_MAX {
            let message = format!("path: more than {FILES_MAX} files would be searched");
            return Err(over_limit("files", FILES_MAX, message));
        }
        if self.stream.is_gone() {
            return Err(refusal(GuestErrorKind::Internal, "pattern: nobody waits for the lines"));
        }
        if Instant::now() > self.deadline {
            let max = u64::try_from(TIME_MAX.as_millis()).unwrap_or(u64::MAX);
            return Err(over_limit("time_ms", max, "pattern: it takes too long"));
        }
        Ok(())
    }

    fn file(&mut self, path: &str, file: OwnedFd) -> Result<(), Errno> {
        let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, std::fs::File::from(file));
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let head = reader.fill_buf().map_err(failed)?;
        if head[..head.len().min(HEAD_BYTES)].contains(&0) {
            return Ok(());
        }
        let mut line = Vec::new();
        let mut number = 0;
        while !self.is_full() && read_line(&mut reader, &mut line).map_err(failed)? {
            number += 1;
            if number % 4096 == 0 && (self.stream.is_gone() || Instant::now() > self.deadline) {
                return Err(Errno::TIMEDOUT);
            }
            let text = String::from_utf8_lossy(&line);
            let Some(found) = self.regex.find(&text) else { continue };
            let end = text.floor_char_boundary(LINE_TEXT_MAX);
            self.text_bytes += end + path.len();
            self.found.push(Found::Line {
                path: path.to_owned(),
                line: number,
                column: found.start() as u64 + 1,
                text: text[..end].to_owned(),
            });
        }
        Ok(())
    }
}

/// Reads a line without its end, or the beginning of a long one; whether there was one.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        let count = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(count);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

fn said(path: &GuestPath, error: &archive::Error) -> Refusal {
    match error {
        archive::Error::File { path: file, error } => fail(&path.join(file), *error),
        archive::Error::Limit { limit, max, .. } => over_limit(limit, *max, error.to_string()),
        archive::Error::Invalid { .. }
        | archive::Error::Changed { .. }
        | archive::Error::Stream(_) => refusal(GuestErrorKind::Internal, error.to_string()),
    }
}
