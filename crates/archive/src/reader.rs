//! Reading a tar stream member by member. All of it is hostile: each member's description is
//! bounded before it is held, and what this does not understand is refused, never skipped.

use std::io::BufRead;

use crate::error::Error;
use crate::format::{BLOCK_BYTES, Block, Header, flag, padding, text};
use crate::name::PATH_BYTES_MAX;

/// The largest description of a member beside its header, in bytes: long names, and what else
/// writers note of a file, such as its extended attributes.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of contents that are handed out at once, so that zeros among them are found.
const CHUNK_BYTES: usize = 64 * 1024;

/// Descriptions before one member; honest writers need at most three.
const EXTENSIONS_MAX: usize = 8;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its contents follow.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Member::link`].
    Symlink,
    /// Another name of the member [`Member::link`].
    HardLink,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path as the archive writes it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, at most 07777.
    pub mode: u32,
    /// When it was changed: seconds since 1970, nanoseconds past that.
    pub modified: (i64, u32),
    /// The size of its contents in bytes.
    pub size: u64,
    /// Where a link points.
    pub link: Vec<u8>,
}

/// A reader of members.
pub struct Reader<'a> {
    source: &'a mut dyn BufRead,
    /// What is left of the contents of the member that was read last.
    left: u64,
    /// Bytes behind the contents up to the next block.
    padding: usize,
}

/// What stands before a member and describes it.
#[derive(Default)]
struct Extensions {
    count: usize,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<(i64, u32)>,
}

impl<'a> Reader<'a> {
    /// A reader from the archive's first byte on.
    pub fn new(source: &'a mut dyn BufRead) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next member; what is left of the contents of the one before is skipped. Nothing
    /// behind the archive's end, which must be there.
    pub fn next_member(&mut self) -> Result<Option<Member>, Error> {
        self.skip()?;
        let mut extensions = Extensions::default();
        loop {
            let block = self.block()?;
            if block == [0; BLOCK_BYTES] {
                self.drain()?;
                return Ok(None);
            }
            let header = Header::decode(&block).ok_or_else(|| {
                Error::invalid(b"", "it is no tar archive, or a header is broken")
            })?;
            if !self.extend(&mut extensions, &header)? {
                return self.member(header, extensions).map(Some);
            }
        }
    }

    /// The next bytes of the contents; none at their end. [`consume`](Self::consume) says how
    /// many were dealt with.
    pub fn contents(&mut self) -> Result<&[u8], Error> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let most = usize::try_from(self.left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let bytes = fill(self.source)?;
        Ok(&bytes[..bytes.len().min(most)])
    }

    /// Goes past bytes of the contents.
    pub fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.left -= count as u64;
    }

    fn skip(&mut self) -> Result<(), Error> {
        while self.left > 0 {
            let count = self.contents()?.len();
            self.consume(count);
        }
        while self.padding > 0 {
            let count = fill(self.source)?.len().min(self.padding);
            self.source.consume(count);
            self.padding -= count;
        }
        Ok(())
    }

    /// Goes to the end of the stream, so that whoever sends it is not cut off.
    fn drain(&mut self) -> Result<(), Error> {
        loop {
            let count = self.source.fill_buf().map_err(Error::Stream)?.len();
            if count == 0 {
                return Ok(());
            }
            self.source.consume(count);
        }
    }

    fn block(&mut self) -> Result<Block, Error> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let bytes = fill(self.source)?;
            let count = bytes.len().min(BLOCK_BYTES - filled);
            block[filled..filled + count].copy_from_slice(&bytes[..count]);
            self.source.consume(count);
            filled += count;
        }
        Ok(block)
    }

    /// Takes in a header that describes the member behind it; whether it is one.
    fn extend(&mut self, extensions: &mut Extensions, header: &Header) -> Result<bool, Error> {
        let about = header.name.as_slice();
        let limit = match header.flag {
            flag::LONG_NAME | flag::LONG_LINK => PATH_BYTES_MAX as u64 + 1,
            flag::PAX | flag::PAX_GLOBAL => EXTENSION_BYTES_MAX,
            _ => return Ok(false),
        };
        if header.size > limit {
            let name = if limit == EXTENSION_BYTES_MAX { "extension_bytes" } else { "path_bytes" };
            return Err(Error::limit(name, limit, about));
        }
        extensions.count += 1;
        if extensions.count > EXTENSIONS_MAX {
            return Err(Error::invalid(about, "it is described over and over"));
        }
        (self.left, self.padding) = (header.size, padding(header.size));
        let mut bytes = Vec::new();
        while self.left > 0 {
            let more = self.contents()?;
            let count = more.len();
            bytes.extend_from_slice(more);
            self.consume(count);
        }
        self.skip()?;
        match header.flag {
            flag::LONG_NAME => extensions.path = Some(text(&bytes).to_vec()),
            flag::LONG_LINK => extensions.link = Some(text(&bytes).to_vec()),
            flag::PAX => {
                extensions.records(&bytes).map_err(|problem| Error::invalid(about, problem))?;
            }
            // What holds for all members, such as a comment, says nothing that is understood; if
            // it named a path or a size of all of them, it would be no honest archive.
            _ => {
                let mut global = Extensions::default();
                global.records(&bytes).map_err(|problem| Error::invalid(about, problem))?;
                if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                    return Err(Error::invalid(about, "it gives all members one path or size"));
                }
            }
        }
        Ok(true)
    }

    fn member(&mut self, header: Header, extensions: Extensions) -> Result<Member, Error> {
        let path = extensions.path.unwrap_or(header.name);
        let invalid = |problem| Error::invalid(&path, problem);
        let kind = match header.flag {
            flag::FILE | flag::FILE_OLD | flag::FILE_CONTIGUOUS if path.ends_with(b"/") => {
                Kind::Directory
            }
            flag::FILE | flag::FILE_OLD | flag::FILE_CONTIGUOUS => Kind::File,
            flag::DIRECTORY => Kind::Directory,
            flag::SYMLINK => Kind::Symlink,
            flag::HARD_LINK => Kind::HardLink,
            b'3' | b'4' => return Err(invalid("it is a device")),
            b'6' => return Err(invalid("it is a pipe")),
            b'S' => return Err(invalid("it is in a sparse form; pack it without --sparse")),
            _ => return Err(invalid("it is of a kind that is not understood")),
        };
        let size = extensions.size.unwrap_or(header.size);
        if kind != Kind::File && size != 0 {
            return Err(invalid("it has contents, and is no regular file"));
        }
        (self.left, self.padding) = (size, padding(size));
        Ok(Member {
            kind,
            mode: header.mode,
            modified: extensions.modified.unwrap_or((header.mtime, 0)),
            size,
            link: extensions.link.unwrap_or(header.link),
            path,
        })
    }
}

/// At least one byte.
fn fill(source: &mut dyn BufRead) -> Result<&[u8], Error> {
    let bytes = source.fill_buf().map_err(Error::Stream)?;
    if bytes.is_empty() { Err(Error::invalid(b"", "it ends too early")) } else { Ok(bytes) }
}

impl Extensions {
    /// Reads PAX records: a length in digits, a space, a keyword, `=`, a value, a line feed.
    fn records(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        const BROKEN: &str = "its description is broken";
        while !bytes.is_empty() && bytes[0] != 0 {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(BROKEN)?;
            let digits = std::str::from_utf8(&bytes[..space]).ok();
            let length = digits.and_then(|digits| digits.parse::<usize>().ok()).ok_or(BROKEN)?;
            if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(BROKEN);
            }
            let record = &bytes[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BROKEN)?;
            let (keyword, value) = (&record[..equals], &record[equals + 1..]);
            match keyword {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    self.size = Some(text.and_then(|text| text.parse().ok()).ok_or(BROKEN)?);
                }
                b"mtime" => self.modified = Some(moment(value).ok_or(BROKEN)?),
                other if other.starts_with(b"GNU.sparse.") => {
                    return Err("it is in a sparse form; pack it without --sparse");
                }
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

/// Seconds with a fraction.
fn moment(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        (true | false, _) => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_archive_is_too_strange(
            headers in prop::collection::vec(
                ("[a./]{0,8}", prop::sample::select(b"0125LKxgS6".to_vec()), 0_u64..2000), 0..6,
            ),
            rubbish: Vec<u8>,
        ) {
            let mut bytes = Vec::new();
            for (name, flag, size) in headers {
                let header = Header { name: name.into_bytes(), flag, size, ..Header::default() };
                bytes.extend(header.encode());
                bytes.extend(rubbish.iter().copied().cycle().take(700));
            }
            let mut source = bytes.as_slice();
            let mut reader = Reader::new(&mut source);
            while let Ok(Some(_)) = reader.next_member() {}
        }

        #[test]
        fn records_of_any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Extensions::default().records(&bytes);
        }
    }

    #[test]
    fn pax_records_say_paths_sizes_and_moments() {
        let mut extensions = Extensions::default();
        let text = b"13 path=\xffa\nb\n18 linkpath=a b=c\n11 size=77\n19 mtime=-1.250000\n";
        extensions.records(text).unwrap();
        assert_eq!(extensions.path.unwrap(), b"\xffa\nb");
        assert_eq!(extensions.link.unwrap(), b"a b=c");
        assert_eq!((extensions.size, extensions.modified), (Some(77), Some((-2, 750_000_000))));
        for bad in ["8 path=a\n", "x path=a\n", "0 ", "8 patha\n", "12 size=-1\n\n"] {
            assert!(Extensions::default().records(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
