//! Trees that go through an archive, ours and those of others, and archives that want out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use archive::{Error, Limits, Top, Unpacked, pack, unpack};
use proptest::prelude::*;
use tempfile::TempDir;

const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 30 };

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn packed(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(Top::Directory(open(dir)), &mut bytes).unwrap();
    bytes
}

fn unpacked(target: &Path, mut bytes: &[u8]) -> Result<Unpacked, Error> {
    unpack(&open(target), &mut bytes, LIMITS)
}

/// A directory to unpack into, and a canary beside it.
struct Place {
    outer: TempDir,
    target: PathBuf,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let target = outer.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::create_dir(outer.path().join("beside")).unwrap();
        fs::write(outer.path().join("beside/canary"), "alive").unwrap();
        Self { outer, target }
    }

    fn assert_untouched(&self) {
        let canary = self.outer.path().join("beside/canary");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
        assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(self.outer.path().join("beside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.outer.path()).unwrap().count(), 2);
    }
}

/// A member as any program may write it.
fn member(name: &str, flag: u8, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0004755");
    block[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = block.to_vec();
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// Everything about a tree that an archive carries.
fn described(dir: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let contents = if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().as_bytes().to_vec()
            } else if meta.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.push((
                path.strip_prefix(dir).unwrap().into(),
                meta.mode(),
                meta.mtime(),
                contents,
            ));
        }
    }
    found.sort();
    found
}

/// A tree of everything that is odd.
fn odd_tree(dir: &Path) {
    let long = "n".repeat(255);
    fs::create_dir_all(dir.join(&long).join(&long)).unwrap();
    fs::write(dir.join(&long).join(&long).join(&long), "deep").unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"\xff\xfe no text")), "bytes").unwrap();
    fs::write(dir.join("-rf \n * $(x)"), "").unwrap();
    fs::write(dir.join("every byte"), (0..=255).collect::<Vec<u8>>()).unwrap();
    symlink("/etc/passwd", dir.join("absolute")).unwrap();
    symlink("x".repeat(300), dir.join("long link")).unwrap();
    fs::write(dir.join("first"), "one file").unwrap();
    fs::hard_link(dir.join("first"), dir.join("second")).unwrap();
    fs::create_dir(dir.join("closed")).unwrap();
    fs::write(dir.join("closed/inside"), "x").unwrap();
    fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(dir.join("first"), fs::Permissions::from_mode(0o640)).unwrap();
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5 << 20).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("fifo"), rustix::fs::Mode::RWXU).unwrap();
}

#[test]
fn a_tree_of_odd_names_and_kinds_comes_back_as_it_was() {
    let source = tempfile::tempdir().unwrap();
    odd_tree(source.path());
    let place = Place::new();
    let done = unpacked(&place.target, &packed(source.path())).unwrap();
    fs::remove_file(source.path().join("fifo")).unwrap();
    assert_eq!(described(&place.target), described(source.path()));
    assert_eq!(done.entries, described(source.path()).len() as u64);
    let inode = |name| fs::metadata(place.target.join(name)).unwrap().ino();
    assert_eq!(inode("first"), inode("second"));
    assert!(fs::metadata(place.target.join("sparse")).unwrap().blocks() < 2048);
}

#[test]
fn other_programs_read_what_we_write_and_we_read_what_they_write() {
    let source = tempfile::tempdir().unwrap();
    odd_tree(source.path());
    fs::remove_file(source.path().join("fifo")).unwrap();
    let theirs = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar")
        .args(["-xpf", "-", "-C"])
        .arg(theirs.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&packed(source.path())).unwrap();
    assert!(tar.wait().unwrap().success());
    assert_eq!(described(theirs.path()), described(source.path()));
    for format in ["gnu", "pax", "oldgnu"] {
        let place = Place::new();
        let out = Command::new("tar")
            .args(["-cf", "-", "--format", format, "-C"])
            .arg(source.path())
            .arg(".")
            .output()
            .unwrap();
        let mut bytes = BufReader::with_capacity(999, out.stdout.as_slice());
        unpack(&open(&place.target), &mut bytes, LIMITS).unwrap();
        assert_eq!(described(&place.target), described(source.path()), "{format}");
    }
}

#[test]
fn a_single_file_is_packed_under_its_name() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a b"), "x").unwrap();
    let mut bytes = Vec::new();
    pack(Top::Entry(open(source.path()), c"a b".into()), &mut bytes).unwrap();
    let place = Place::new();
    assert_eq!(unpacked(&place.target, &bytes).unwrap(), Unpacked { entries: 1, bytes: 1 });
    assert_eq!(fs::read_to_string(place.target.join("a b")).unwrap(), "x");
}

#[test]
fn members_that_lead_out_or_are_no_files_are_refused_by_name() {
    let link = |name: &str, to: &str| member(name, b'2', to, b"");
    let file = |name: &str| member(name, b'0', "", b"pwned");
    for (name, members) in [
        ("/etc/cron.d/x", vec![file("/etc/cron.d/x")]),
        ("../beside/canary", vec![file("../beside/canary")]),
        ("a/../../beside/canary", vec![file("a/../../beside/canary")]),
        ("out/canary", vec![link("out", "../beside"), file("out/canary")]),
        ("out/new", vec![link("out", "../beside"), file("out/new")]),
        ("out/dir/", vec![link("out", "../beside"), member("out/dir/", b'5', "", b"")]),
        ("out/", vec![link("out", "../beside"), member("out/", b'5', "", b"")]),
        ("b/c", vec![link("a", ".."), link("b", "a/beside"), file("b/c")]),
        ("hard", vec![member("hard", b'1', "../beside/canary", b"")]),
        ("hard", vec![member("hard", b'1', "/etc/passwd", b"")]),
        ("hard", vec![link("out", "../beside"), member("hard", b'1', "out/canary", b"")]),
        ("disk", vec![member("disk", b'3', "", b"")]),
        ("disk", vec![member("disk", b'4', "", b"")]),
        ("pipe", vec![member("pipe", b'6', "", b"")]),
        ("sparse", vec![member("sparse", b'S', "", b"")]),
        ("strange", vec![member("strange", b'Z', "", b"")]),
        (".", vec![link(".", "../beside")]),
        ("dir/", vec![member("dir/", b'5', "", b"contents")]),
    ] {
        let place = Place::new();
        let error = unpacked(&place.target, &archive(&members)).unwrap_err();
        let Error::Invalid { member, .. } = &error else { panic!("{name}: {error}") };
        assert_eq!(member, name, "{error}");
        place.assert_untouched();
    }
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let place = Place::new();
    let members = [
        member("f", b'2', "../beside/canary", b""),
        member("f", b'0', "", b"new"),
        member("g", b'2', "../beside/canary", b""),
        member("h", b'1', "g", b""),
        member("h", b'0', "", b"new"),
    ];
    unpacked(&place.target, &archive(&members)).unwrap();
    place.assert_untouched();
    assert_eq!(fs::read_to_string(place.target.join("f")).unwrap(), "new");
    assert_eq!(fs::metadata(place.target.join("h")).unwrap().mode() & 0o7777, 0o755);
    let left = fs::read_dir(&place.target).unwrap().count();
    assert_eq!(left, 3, "no temporary file is left");
}

#[test]
fn limits_are_named_with_what_they_allow() {
    let place = Place::new();
    let many: Vec<_> = (0..1001).map(|n| member(&format!("f{n}"), b'0', "", b"")).collect();
    let mut large = member("large", b'0', "", b"");
    large[124..135].copy_from_slice(b"77777777777");
    large[148..156].fill(b' ');
    let sum: u32 = large.iter().copied().map(u32::from).sum();
    large[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut long = member("././@LongLink", b'L', "", &[b'a'; 5000]);
    long.extend(member("x", b'0', "", b""));
    let name = member("././@LongLink", b'L', "", &[b'a'; 256]);
    let name = [name, member("x", b'0', "", b"")].concat();
    let mut records = member("x", b'x', "", &vec![b'1'; 2 << 20]);
    records.extend(member("x", b'0', "", b""));
    for (bytes, limit, max) in [
        (archive(&many), "entries", 1000),
        (archive(&[large]), "bytes", 1 << 30),
        (archive(&[long]), "path_bytes", 4096),
        (archive(&[name]), "name_bytes", 255),
        (archive(&[records]), "extension_bytes", 1 << 20),
    ] {
        let error = unpacked(&place.target, &bytes).unwrap_err();
        let Error::Limit { limit: name, max: most, .. } = error else { panic!("{limit}: {error}") };
        assert_eq!((name, most), (limit, max));
    }
}

#[test]
fn an_archive_that_is_cut_off_or_is_none_is_refused() {
    let place = Place::new();
    let whole = archive(&[member("f", b'0', "", &[7; 3000])]);
    for length in [0, 1, 511, 512, 600, 3000, 3500] {
        let error = unpacked(&place.target, &whole[..length]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{length}: {error}");
    }
    for rubbish in [&b"PK\x03\x04"[..], b"hello\n"] {
        let bytes = rubbish.repeat(1000);
        assert!(matches!(unpacked(&place.target, &bytes), Err(Error::Invalid { .. })));
    }
    assert_eq!(fs::read_dir(&place.target).unwrap().count(), 0);
    // What came whole stays, but the end is missed.
    assert!(matches!(unpacked(&place.target, &whole[..3584]), Err(Error::Invalid { .. })));
    assert_eq!(fs::read_dir(&place.target).unwrap().count(), 1);
}

#[test]
fn a_tree_that_is_moved_about_while_it_is_packed_and_unpacked_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = Place::new();
    let dir = place.target.join("d");
    fs::create_dir(&dir).unwrap();
    let stop = AtomicBool::new(false);
    let bytes = archive(&[
        member("d/x/f", b'0', "", b"new"),
        member("d/canary", b'0', "", b"new"),
        member("d/l", b'1', "d/canary", b""),
    ]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = place.target.join("e");
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&dir, &other);
                let _ = symlink("../beside", &dir);
                let _ = fs::remove_file(&dir);
                let _ = fs::rename(&other, &dir);
            }
        });
        for _ in 0..300 {
            let _ = unpacked(&place.target, &bytes);
            let mut out = Vec::new();
            let _ = pack(Top::Directory(open(&place.target)), &mut out);
            assert!(!out.windows(5).any(|text| text == b"alive"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    place.assert_untouched();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_sequence_of_members_reaches_outside(
        members in prop::collection::vec(
            (
                "(\\.\\./|a/|b/|\\./|/|c){1,4}",
                prop::sample::select(b"0125".to_vec()),
                "(\\.\\./|a/|b/|/|beside|canary){1,3}",
            ),
            1..8,
        ),
    ) {
        let place = Place::new();
        let members: Vec<_> = members
            .iter()
            .map(|(name, flag, link)| {
                member(name, *flag, link, if *flag == b'0' { b"new" } else { b"" })
            })
            .collect();
        let _ = unpacked(&place.target, &archive(&members));
        place.assert_untouched();
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_packed_is_an_error() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("f");
    fs::write(&path, vec![1; 8 << 20]).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let dir = open(source.path());
    let packing = std::thread::spawn(move || pack(Top::Directory(dir), &mut writer));
    let mut first = [0; 4096];
    reader.read_exact(&mut first).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let _ = reader.read_to_end(&mut Vec::new());
    assert!(matches!(packing.join().unwrap(), Err(Error::Changed { .. })));
}
