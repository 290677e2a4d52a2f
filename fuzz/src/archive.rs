//! Archives that are unpacked: whatever the bytes are, nothing is made or changed outside of the
//! directory, and no more in it than the limits allow.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use archive::{BLOCK_BYTES, Limits, Reader, unpack};

/// Small enough that what is made can be looked at and removed many times in a second.
const LIMITS: Limits = Limits { entries: 32, bytes: 64 * 1024 };

/// Members with a longer or deeper path are read, and not unpacked: looking at what they make would
/// need more than paths of the usual kind.
const PATH_BYTES_MAX: usize = 2048;
const DEPTH_MAX: usize = 128;

/// What lies beside the directory, and must stay as it is.
const OUTSIDE: &str = "not of the archive";

/// An archive as it is, and with the sums of its headers put right: no made-up input has those by
/// chance.
pub fn run(input: &[u8]) {
    one(input);
    let mended = mended(input);
    if mended != input {
        one(&mended);
    }
}

fn one(input: &[u8]) {
    if !is_shallow(input) {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let (target, outside) = (place.path().join("target"), place.path().join("outside"));
    fs::create_dir(&target).expect("it is a new directory");
    fs::write(&outside, OUTSIDE).expect("it is a new file");
    // Ways out that a job of the sandbox may have left in the archive's way.
    symlink("..", target.join("a")).expect("it is a new name");
    symlink("../outside", target.join("b")).expect("it is a new name");
    let before = outline(&outside);

    let dir = File::open(&target).expect("it was just made").into();
    let mut source = input;
    let done = unpack(&dir, &mut source, LIMITS);

    if let Ok(done) = done {
        assert!(done.entries <= LIMITS.entries && done.bytes <= LIMITS.bytes, "{done:?}");
    }
    assert_eq!(outline(&outside), before, "what lies outside is touched");
    assert_eq!(fs::read_to_string(&outside).expect("it is text"), OUTSIDE);
    assert_eq!(fs::read_dir(place.path()).expect("it is ours").count(), 2, "something escaped");
    let mut sizes = HashMap::new();
    look(&target, &mut sizes);
    assert!(sizes.values().sum::<u64>() <= LIMITS.bytes, "there is more than the limit");
}

/// What an escape would change: names of the file, mode, time of change.
fn outline(path: &Path) -> (u64, u32, i64, i64) {
    let about = fs::symlink_metadata(path).expect("it is there");
    (about.nlink(), about.mode(), about.mtime(), about.mtime_nsec())
}

/// Collects the sizes of regular files by their number, and holds every mode to what is allowed.
fn look(directory: &Path, sizes: &mut HashMap<u64, u64>) {
    for entry in fs::read_dir(directory).expect("a directory of ours can be read") {
        let path = entry.expect("a directory of ours can be read").path();
        let about = fs::symlink_metadata(&path).expect("it was just listed");
        let kind = about.file_type();
        if kind.is_dir() {
            look(&path, sizes);
        } else if kind.is_file() {
            sizes.insert(about.ino(), about.len());
        }
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{kind:?}");
        assert_eq!(about.mode() & 0o7000, 0, "a mode lends an identity");
    }
}

/// Whether no member before the first broken one is too deep to be looked at.
fn is_shallow(input: &[u8]) -> bool {
    let mut source = input;
    let mut reader = Reader::new(&mut source);
    while let Ok(Some(member)) = reader.next_member() {
        let depth = member.path.split(|byte| *byte == b'/').count();
        if member.path.len() > PATH_BYTES_MAX || depth > DEPTH_MAX {
            return false;
        }
    }
    true
}

/// The input with the right sum in every block that says that it is a header.
fn mended(input: &[u8]) -> Vec<u8> {
    const SUM: std::ops::Range<usize> = 148..156;
    const MAGIC: std::ops::Range<usize> = 257..262;
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
        if &block[MAGIC] == b"ustar" {
            block[SUM].fill(b' ');
            let sum: u32 = block.iter().copied().map(u32::from).sum();
            block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}
