//! The blocks of the tar format, as bytes. Written is GNU's form of ustar, which carries names of
//! any bytes and length; read are v7, ustar, PAX and GNU. What they mean is `reader`'s.

/// Everything in an archive comes in blocks of this size.
pub const BLOCK_BYTES: usize = 512;

/// One block.
pub(crate) type Block = [u8; BLOCK_BYTES];

/// The kind of a member, as the format writes it.
pub(crate) mod flag {
    pub const FILE: u8 = b'0';
    pub const FILE_OLD: u8 = 0;
    pub const FILE_CONTIGUOUS: u8 = b'7';
    pub const HARD_LINK: u8 = b'1';
    pub const SYMLINK: u8 = b'2';
    pub const DIRECTORY: u8 = b'5';
    pub const LONG_NAME: u8 = b'L';
    pub const LONG_LINK: u8 = b'K';
    pub const PAX: u8 = b'x';
    pub const PAX_GLOBAL: u8 = b'g';
}

/// Where a field lies.
type Field = std::ops::Range<usize>;

const NAME: Field = 0..100;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
const FLAG: usize = 156;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const PREFIX: Field = 345..500;

const USTAR: &[u8] = b"ustar\0";
const GNU: &[u8; 8] = b"ustar  \0";

/// The name of a block that holds a long name.
const LONG_NAME_LABEL: &[u8] = b"././@LongLink";

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub name: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    pub link: Vec<u8>,
}

/// Bytes up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
    (BLOCK_BYTES - over) % BLOCK_BYTES
}

impl Header {
    /// The header's blocks, those of names that are too long for one block first.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        for (text, field, flag) in
            [(&self.link, LINK, flag::LONG_LINK), (&self.name, NAME, flag::LONG_NAME)]
        {
            if text.len() > field.len() {
                let label = Self {
                    name: LONG_NAME_LABEL.to_vec(),
                    flag,
                    size: text.len() as u64 + 1,
                    ..Self::default()
                };
                bytes.extend_from_slice(&label.block());
                bytes.extend_from_slice(text);
                bytes.push(0);
                bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
            }
        }
        bytes.extend_from_slice(&self.block());
        bytes
    }

    fn block(&self) -> Block {
        let mut block = [0; BLOCK_BYTES];
        put_text(&mut block[NAME], &self.name);
        put_number(&mut block[MODE], i128::from(self.mode));
        put_number(&mut block[UID], i128::from(self.uid));
        put_number(&mut block[GID], i128::from(self.gid));
        put_number(&mut block[SIZE], i128::from(self.size));
        put_number(&mut block[MTIME], i128::from(self.mtime));
        block[FLAG] = self.flag;
        put_text(&mut block[LINK], &self.link);
        block[MAGIC].copy_from_slice(GNU);
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// Reads a header; nothing if it is none.
    pub fn decode(block: &Block) -> Option<Self> {
        if number(&block[CHECKSUM])? != i128::from(checksum(block)) {
            return None;
        }
        let mut name = text(&block[NAME]).to_vec();
        if block[MAGIC].starts_with(USTAR) && block[PREFIX.start] != 0 {
            let mut whole = text(&block[PREFIX]).to_vec();
            whole.push(b'/');
            whole.append(&mut name);
            name = whole;
        }
        Some(Self {
            name,
            flag: block[FLAG],
            // Some writers put the type of the file there too.
            mode: u32::try_from(number(&block[MODE])? & 0o7777).ok()?,
            uid: u32::try_from(number(&block[UID])?).unwrap_or(0),
            gid: u32::try_from(number(&block[GID])?).unwrap_or(0),
            size: u64::try_from(number(&block[SIZE])?).ok()?,
            mtime: i64::try_from(number(&block[MTIME])?).ok()?,
            link: text(&block[LINK]).to_vec(),
        })
    }
}

/// The sum of a block's bytes, with spaces in the place of the sum itself.
fn checksum(block: &Block) -> u32 {
    let all: u32 = block.iter().copied().map(u32::from).sum();
    let own: u32 = block[CHECKSUM].iter().copied().map(u32::from).sum();
    all - own + 8 * u32::from(b' ')
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

/// Writes a number in octal, or in GNU's binary form where that has too few digits.
fn put_number(field: &mut [u8], number: i128) {
    let digits = field.len() - 1;
    let text = if number >= 0 { format!("{number:0digits$o}") } else { String::new() };
    if (1..=digits).contains(&text.len()) {
        field[..digits].copy_from_slice(text.as_bytes());
        return;
    }
    let bytes = number.to_be_bytes();
    field.copy_from_slice(&bytes[bytes.len() - field.len()..]);
    field[0] = if number < 0 { 0xff } else { 0x80 };
}

/// Reads a number in either form. An empty field is zero.
fn number(field: &[u8]) -> Option<i128> {
    match field[0] {
        // The marker's low bits belong to the number: to its sign alone in numbers that fit here.
        0x80 | 0xff => {
            let sign: i128 = if field[0] == 0xff { -1 } else { 0 };
            let fold = |sum: i128, byte: &u8| (sum << 8) | i128::from(*byte);
            Some(field[1..].iter().fold(sign, fold))
        }
        _ => {
            let end =
                field.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |at| at + 1);
            let digits = field[..end].trim_ascii_start();
            digits.iter().try_fold(0, |sum: i128, digit| match digit {
                b'0'..=b'7' => Some(sum * 8 + i128::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

/// The field's bytes up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_reads_as_it_was_written(
            name in prop::collection::vec(1_u8.., 1..=100),
            link in prop::collection::vec(1_u8.., 0..=100),
            (mode, uid, gid) in (0_u32..=0o7777, any::<u32>(), any::<u32>()),
            (size, mtime) in (any::<u64>(), any::<i64>()),
        ) {
            let header = Header { name, flag: flag::FILE, mode, uid, gid, size, mtime, link };
            let block: Block = header.encode().try_into().unwrap();
            prop_assert_eq!(Header::decode(&block), Some(header));
        }

        #[test]
        fn a_header_with_a_changed_byte_is_none(at in 0..BLOCK_BYTES, by in 1_u8..) {
            let header = Header { name: b"a".to_vec(), flag: flag::FILE, ..Header::default() };
            let mut block: Block = header.encode().try_into().unwrap();
            block[at] = block[at].wrapping_add(by);
            prop_assert!(CHECKSUM.contains(&at) || Header::decode(&block).is_none());
        }

        #[test]
        fn no_block_is_too_strange(block: [u8; 256], again: [u8; 256]) {
            let block: Block = [block, again].concat().try_into().unwrap();
            Header::decode(&block);
            number(&block[..12]);
        }
    }

    #[test]
    fn a_long_name_has_blocks_of_its_own() {
        let header = Header { name: vec![b'n'; 101], link: vec![b'l'; 600], ..Header::default() };
        assert_eq!(header.encode().len(), (1 + 2 + 1 + 1 + 1) * BLOCK_BYTES);
    }
}
