//! Files: archives both ways, and copies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proto::{FsOp, GuestErrorKind, Reply};

use crate::served::{Served, mode_of};

fn copy(from: &str, to: &str, recursive: bool) -> FsOp {
    FsOp::Copy { from: from.into(), to: to.into(), recursive }
}

/// A tree of odd names and kinds at `/tree`.
fn tree(served: &mut Served) {
    for name in ["-rf", "new\nline", "a b", &"n".repeat(255), "deep/er/file"] {
        served.write(&format!("/tree/{name}"), name.as_bytes());
    }
    fs::write(served.at("tree").join(OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    fs::create_dir(served.at("tree").join(OsStr::from_bytes(b"dir \xff"))).unwrap();
    fs::write(served.at("tree").join(OsStr::from_bytes(b"dir \xff/in")), "x").unwrap();
    symlink("/etc/passwd", served.at("tree/link")).unwrap();
    fs::set_permissions(served.at("tree/a b"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(served.at("tree/deep/er"), fs::Permissions::from_mode(0o500)).unwrap();
}

/// Names, modes and contents of a tree.
fn described(served: &Served, name: &str) -> Vec<(Vec<u8>, u32, Vec<u8>)> {
    let top = served.at(name);
    let mut found = Vec::new();
    let mut todo = vec![top.clone()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let contents = if meta.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if meta.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(&top).unwrap().as_os_str().as_bytes().to_vec();
            found.push((name, meta.mode() & 0o777, contents));
        }
    }
    found.sort();
    found
}

#[test]
fn a_tree_goes_out_and_comes_back_as_an_archive() {
    let mut served = Served::new();
    tree(&mut served);
    let bytes = served.pack("/tree").unwrap();
    let reply = served.unpack("/new/place", &bytes);
    assert!(matches!(reply, Reply::Unpacked { entries: 11, .. }), "{reply:?}");
    assert_eq!(described(&served, "new/place"), described(&served, "tree"));
    assert_eq!(mode_of(&served.at("new/place/a b")), 0o751);
    let one = served.pack("/tree/a b").unwrap();
    assert!(matches!(served.unpack("/one", &one), Reply::Unpacked { entries: 1, bytes: 3 }));
    assert_eq!(served.pack("/none"), Err(GuestErrorKind::NotFound));
    rustix::fs::mkfifoat(rustix::fs::CWD, served.at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(served.pack("/fifo"), Err(GuestErrorKind::NotAFile));
    let reply = served.unpack("/x", b"no archive");
    assert!(matches!(reply, Reply::BadArchive { .. }), "{reply:?}");
    let Reply::Error(error) = served.unpack("/tree/a b", &bytes) else { panic!("a file") };
    assert_eq!(error.kind, GuestErrorKind::NotADirectory);
}

#[test]
fn a_limit_of_an_archive_is_named() {
    let mut served = Served::new();
    tree(&mut served);
    let bytes = served.pack("/tree").unwrap();
    let stream = served.client.open(&proto::Request::Fs(FsOp::Unpack {
        path: "/x".into(),
        entries: 3,
        bytes: 1000,
    }));
    served.client.send(proto::Kind::Data, stream, &bytes);
    let Reply::OverLimit { limit, max, .. } = served.client.reply(stream) else {
        panic!("over a limit")
    };
    assert_eq!((limit.as_str(), max), ("entries", 3));
}

#[test]
fn a_copy_is_the_same_and_another() {
    let mut served = Served::new();
    tree(&mut served);
    assert_eq!(served.refused(copy("/tree", "/copy", false)), GuestErrorKind::IsADirectory);
    assert_eq!(served.fs(copy("/tree", "/copy", true)), Reply::Done);
    assert_eq!(described(&served, "copy"), described(&served, "tree"));
    assert_eq!(mode_of(&served.at("copy/a b")), 0o751);
    assert_eq!(served.fs(copy("/tree/link", "/link", false)), Reply::Done);
    assert_eq!(fs::read_link(served.at("link")).unwrap(), OsStr::new("/etc/passwd"));
    assert_eq!(served.fs(copy("/tree/-rf", "/link", false)), Reply::Done);
    assert_eq!(fs::read(served.at("link")).unwrap(), b"-rf");
    for (from, to, expected) in [
        ("/tree", "/copy", GuestErrorKind::Exists),
        ("/tree", "/link", GuestErrorKind::Exists),
        ("/tree/-rf", "/copy", GuestErrorKind::Exists),
        ("/tree", "/tree/deep/x", GuestErrorKind::Invalid),
        ("/tree", "/tree/x", GuestErrorKind::Invalid),
        ("/none", "/x", GuestErrorKind::NotFound),
        ("/tree", "/none/x", GuestErrorKind::NotFound),
        ("/", "/x", GuestErrorKind::PathInvalid),
    ] {
        assert_eq!(served.refused(copy(from, to, true)), expected, "{from} {to}");
    }
    assert_eq!(served.leftovers(), 0);
    assert!(fs::symlink_metadata(served.at("tree/x")).is_err());
    let delete = FsOp::Delete { path: "/copy".into(), recursive: true };
    assert_eq!(served.fs(delete), Reply::Done);
}

#[test]
fn a_sparse_file_stays_one_in_a_copy() {
    let mut served = Served::new();
    fs::create_dir(served.at("d")).unwrap();
    let file = fs::File::create(served.at("d/sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 32 << 20).unwrap();
    assert_eq!(served.fs(copy("/d", "/copy", true)), Reply::Done);
    let meta = fs::metadata(served.at("copy/sparse")).unwrap();
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() < 2048, "{}", meta.blocks());
    let read = |name| fs::read(served.at(name)).unwrap();
    assert!(read("copy/sparse") == read("d/sparse"));
}

#[test]
fn a_deep_tree_is_copied() {
    let mut served = Served::new();
    let mut path = String::from("/d");
    for _ in 0..1500 {
        path.push_str("/d");
    }
    served.write(&format!("{path}/file"), b"deep");
    assert_eq!(served.fs(copy("/d", "/e", true)), Reply::Done);
    let copied = format!("/e{}/file", &path[2..]);
    assert_eq!(served.read(&copied).unwrap(), b"deep");
}
