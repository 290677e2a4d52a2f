//! Files: every operation, byte for byte, and every known way out of the root. The operations are
//! served beneath a directory of the test's own; the agent takes its root as a descriptor.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proto::{Entry, EntryKind, FsOp, GuestErrorKind, Kind, Reply, Request};

use crate::served::{SECRET, Served, mode_of, stored};

#[test]
fn bytes_come_back_as_they_went() {
    let mut served = Served::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    assert_eq!(stored(served.write("/a/b/file é", &bytes)), 200_000);
    assert!(served.read("/a/b/file é").unwrap() == bytes);
    assert_eq!(served.read_part("/a/b/file é", 10, Some(3)).unwrap(), bytes[10..13]);
    assert_eq!(served.read_part("/a/b/file é", 500_000, None).unwrap(), b"");
    assert_eq!(stored(served.write("/empty", b"")), 0);
    assert_eq!(served.read("/empty").unwrap(), b"");
    assert_eq!(served.leftovers(), 0);
}

#[test]
fn a_file_larger_than_a_window_is_carried_in_both_directions() {
    let mut served = Served::new();
    let request = Request::Write { path: "/big".into(), mode: None, parents: false, only: None };
    let stream = served.client.open(&request);
    let mut credit = i64::from(proto::INITIAL_WINDOW);
    for block in 0..160_u8 {
        while credit < 65_536 {
            let (header, payload) = served.client.read_frame().unwrap();
            assert_eq!(header.kind, Kind::Window);
            credit += i64::from(proto::frame::decode_window(&payload).unwrap());
        }
        served.client.send(Kind::Data, stream, &vec![block; 65_536]);
        credit -= 65_536;
    }
    served.client.send(Kind::End, stream, b"");
    assert_eq!(stored(served.client.reply(stream)), 160 * 65_536);
    let back = served.read("/big").unwrap();
    assert!(
        back.chunks(65_536).zip(0..).all(|(chunk, block)| chunk.iter().all(|byte| *byte == block))
    );
}

#[test]
fn a_mode_is_set_kept_or_the_default() {
    let mut served = Served::new();
    served.write("/plain", b"x");
    assert_eq!(mode_of(&served.at("plain")), 0o644);
    served.write_as("/script", b"x", Some(0o777));
    served.write("/script", b"y");
    assert_eq!(mode_of(&served.at("script")), 0o777);
    let chmod = |mode| FsOp::Chmod { path: "/script".into(), mode };
    assert_eq!(served.fs(chmod(0o000)), Reply::Done);
    assert_eq!(served.fs(chmod(0o640)), Reply::Done);
    assert_eq!(mode_of(&served.at("script")), 0o640);
    assert_eq!(served.refused(chmod(0o10000)), GuestErrorKind::Invalid);
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one() {
    let mut served = Served::new();
    served.write("/file", &vec![b'a'; 100_000]);
    let path = served.at("file");
    let reader = std::thread::spawn(move || {
        for _ in 0..300 {
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 100_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        }
    });
    for round in 0..60 {
        served.write("/file", &vec![b'b' + round % 20; 100_000]);
    }
    reader.join().unwrap();
}

#[test]
fn a_write_that_is_given_up_leaves_nothing() {
    let mut served = Served::new();
    served.write("/file", b"old");
    let request = Request::Write { path: "/file".into(), mode: None, parents: false, only: None };
    let stream = served.client.open(&request);
    served.client.send(Kind::Data, stream, b"half");
    while served.leftovers() == 0 {
        std::thread::yield_now();
    }
    served.client.send(Kind::Reset, stream, b"");
    while served.leftovers() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(served.read("/file").unwrap(), b"old");
}

#[test]
fn files_are_described_and_listed_by_name() {
    let mut served = Served::new();
    served.write("/d/b", b"12345");
    fs::create_dir(served.at("d/a")).unwrap();
    symlink("../x", served.at("d/c")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, served.at("d/e"), rustix::fs::Mode::RUSR).unwrap();
    let entries: Vec<Entry> = served.lines(FsOp::List { path: "/d/".into(), limit: 4 });
    let short: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    let expected = [
        ("/d/a", EntryKind::Directory),
        ("/d/b", EntryKind::File),
        ("/d/c", EntryKind::Symlink),
        ("/d/e", EntryKind::Other),
    ];
    assert_eq!(short, expected);
    assert_eq!(entries[1].size, 5);
    assert_eq!(entries[2].symlink_target.as_deref(), Some("../x"));
    assert_eq!(served.stat("/d/c"), entries[2]);
    assert_eq!(served.stat("/").kind, EntryKind::Directory);
    let too_few = FsOp::List { path: "/d".into(), limit: 3 };
    assert_eq!(served.refused(too_few), GuestErrorKind::Limit);
    let no_directory = FsOp::List { path: "/d/b".into(), limit: 9 };
    assert_eq!(served.refused(no_directory), GuestErrorKind::NotADirectory);
}

#[test]
fn errors_say_what_is_wrong() {
    let mut served = Served::new();
    served.write("/file", b"x");
    fs::create_dir(served.at("dir")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, served.at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(served.at("socket")).unwrap();
    for (path, expected) in [
        ("/none", GuestErrorKind::NotFound),
        ("/file/x", GuestErrorKind::NotADirectory),
        ("/dir", GuestErrorKind::IsADirectory),
        ("/", GuestErrorKind::IsADirectory),
        ("/fifo", GuestErrorKind::NotAFile),
        ("/socket", GuestErrorKind::NotAFile),
        ("relative", GuestErrorKind::PathInvalid),
        ("", GuestErrorKind::PathInvalid),
        ("/a\0b", GuestErrorKind::PathInvalid),
    ] {
        assert_eq!(served.read(path), Err(expected), "{path:?}");
    }
    for (path, expected) in [
        ("/dir", GuestErrorKind::IsADirectory),
        ("/", GuestErrorKind::IsADirectory),
        ("/fifo", GuestErrorKind::NotAFile),
        ("/file/x", GuestErrorKind::NotADirectory),
    ] {
        let reply = served.write(path, b"x");
        let Reply::Error(error) = reply else { panic!("{path} {reply:?}") };
        assert_eq!(error.kind, expected, "{path}");
    }
    let request = Request::Write { path: "/no/dir".into(), mode: None, parents: false, only: None };
    assert_eq!(served.client.error(&request), GuestErrorKind::NotFound);
}

#[test]
fn no_path_leads_out_of_the_root() {
    let mut served = Served::new();
    let outside = served.outer.path().to_str().unwrap().to_owned();
    symlink(&outside, served.at("absolute")).unwrap();
    symlink("..", served.at("up")).unwrap();
    symlink("../secret", served.at("relative")).unwrap();
    symlink(format!("{outside}/secret"), served.at("direct")).unwrap();
    symlink("/proc/self/root", served.at("magic")).unwrap();
    for path in [
        "/../secret",
        "/../../../../../../../../etc/passwd",
        "/absolute/secret",
        "/up/secret",
        "/relative",
        "/direct",
        "/magic/etc/passwd",
    ] {
        assert_eq!(served.read(path), Err(GuestErrorKind::NotFound), "{path}");
        served.write(path, b"overwritten");
        let _ = served.fs(FsOp::Chmod { path: path.into(), mode: 0o777 });
        let _ = served.fs(FsOp::Delete { path: path.into(), recursive: true });
        let _ = served.fs(FsOp::Move { from: path.into(), to: "/stolen".into() });
    }
    let secret = served.outer.path().join("secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    assert_eq!(mode_of(&secret), 0o644);
    assert_eq!(fs::read_dir(served.outer.path()).unwrap().count(), 2);
}

#[test]
fn a_path_that_changes_under_the_operation_never_leads_out() {
    let mut served = Served::new();
    fs::create_dir(served.at("real")).unwrap();
    fs::write(served.at("real/secret"), "inside").unwrap();
    let (flip, real) = (served.at("flip"), served.at("real"));
    let outside = served.outer.path().to_owned();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = std::sync::Arc::clone(&stop);
    let attacker = std::thread::spawn(move || {
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            fs::rename(&real, &flip).unwrap();
            fs::rename(&flip, &real).unwrap();
            symlink(&outside, &flip).unwrap();
            fs::remove_file(&flip).unwrap();
        }
    });
    for _ in 0..500 {
        if let Ok(bytes) = served.read("/flip/secret") {
            assert_eq!(bytes, b"inside");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    attacker.join().unwrap();
}

#[test]
fn a_write_through_a_link_replaces_the_file_that_it_names() {
    let mut served = Served::new();
    served.write("/d/file", b"old");
    symlink("d/file", served.at("link")).unwrap();
    symlink("/link", served.at("d/again")).unwrap();
    symlink("loop", served.at("loop")).unwrap();
    assert_eq!(stored(served.write("/d/again", b"new")), 3);
    assert_eq!(served.read("/d/file").unwrap(), b"new");
    assert_eq!(served.stat("/link").kind, EntryKind::Symlink);
    let Reply::Error(error) = served.write("/loop", b"x") else { panic!("a loop") };
    assert_eq!(error.kind, GuestErrorKind::PathInvalid);
    assert_eq!(served.read("/loop"), Err(GuestErrorKind::PathInvalid));
}

#[test]
fn a_delete_removes_the_link_and_not_what_it_names() {
    let mut served = Served::new();
    served.write("/keep/file", b"x");
    fs::create_dir(served.at("dir")).unwrap();
    symlink("../keep", served.at("dir/link")).unwrap();
    let delete = |path: &str, recursive| FsOp::Delete { path: path.into(), recursive };
    assert_eq!(served.refused(delete("/dir", false)), GuestErrorKind::NotEmpty);
    assert_eq!(served.fs(delete("/dir", true)), Reply::Done);
    assert_eq!(served.refused(delete("/dir", true)), GuestErrorKind::NotFound);
    assert_eq!(served.refused(delete("/", true)), GuestErrorKind::PathInvalid);
    assert_eq!(served.fs(delete("/keep/file", false)), Reply::Done);
    assert_eq!(served.fs(delete("/keep", false)), Reply::Done);
}

#[test]
fn a_tree_of_ten_thousand_levels_is_removed() {
    let mut served = Served::new();
    let mut dir = OwnedFd::from(fs::File::open(&served.root).unwrap());
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
    for level in 0..10_000 {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
        if level % 1000 == 0 {
            rustix::fs::mkdirat(&dir, "e", rustix::fs::Mode::RWXU).unwrap();
        }
        dir = rustix::fs::openat(&dir, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    drop(dir);
    let delete = FsOp::Delete { path: "/d".into(), recursive: true };
    assert_eq!(served.fs(delete), Reply::Done);
    assert!(!served.at("d").exists());
}

#[test]
fn a_move_renames_and_replaces() {
    let mut served = Served::new();
    served.write("/a", b"a");
    served.write("/b", b"b");
    fs::create_dir(served.at("dir")).unwrap();
    let mv = |from: &str, to: &str| FsOp::Move { from: from.into(), to: to.into() };
    assert_eq!(served.fs(mv("/a", "/b")), Reply::Done);
    assert_eq!(served.read("/b").unwrap(), b"a");
    assert_eq!(served.fs(mv("/b", "/dir/c")), Reply::Done);
    assert_eq!(served.refused(mv("/b", "/x")), GuestErrorKind::NotFound);
    assert_eq!(served.refused(mv("/dir", "/dir/in/itself")), GuestErrorKind::NotFound);
    assert_eq!(served.refused(mv("/dir", "/dir/itself")), GuestErrorKind::Invalid);
    assert_eq!(served.refused(mv("/", "/x")), GuestErrorKind::PathInvalid);
}

#[test]
fn globs_match_as_in_a_shell() {
    let mut served = Served::new();
    for path in ["/src/a.rs", "/src/deep/er/b.rs", "/src/c.txt", "/src/.hidden/d.rs", "/src/.e.rs"]
    {
        served.write(path, b"");
    }
    symlink("..", served.at("src/deep/loop")).unwrap();
    assert_eq!(served.glob("/src/*.rs"), ["/src/a.rs"]);
    assert_eq!(served.glob("/src/**/*.rs"), ["/src/a.rs", "/src/deep/er/b.rs"]);
    assert_eq!(served.glob("/**/b.rs"), ["/src/deep/er/b.rs"]);
    assert_eq!(served.glob("/**/**/er/**/b.rs"), ["/src/deep/er/b.rs"]);
    assert_eq!(served.glob("/src/.*"), ["/src/.e.rs", "/src/.hidden"]);
    assert_eq!(served.glob("/src/[ac].*"), ["/src/a.rs", "/src/c.txt"]);
    assert_eq!(served.glob("/src/deep/loop/a.rs"), ["/src/deep/loop/a.rs"]);
    assert_eq!(
        served.glob("/src/deep/**"),
        ["/src/deep", "/src/deep/er", "/src/deep/er/b.rs", "/src/deep/loop"]
    );
    assert_eq!(served.glob("/none/*"), Vec::<String>::new());
    let glob = |pattern: &str, limit| FsOp::Glob { pattern: pattern.into(), limit };
    assert_eq!(served.refused(glob("/src/*", 1)), GuestErrorKind::Limit);
    assert_eq!(served.refused(glob("src/*", 1)), GuestErrorKind::PathInvalid);
    assert_eq!(served.refused(glob("/src/../*", 1)), GuestErrorKind::PathInvalid);
    // Many ways lead to each place of this one; each place is looked at once.
    assert_eq!(served.glob(&format!("{}/nothing", "/**/*".repeat(200))), Vec::<String>::new());
}

#[test]
fn a_file_call_may_do_what_the_jobs_user_may() {
    use std::os::unix::fs::{MetadataExt, chown};

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut served = Served::as_user(1000);
    for dir in ["roots", "theirs"] {
        fs::create_dir(served.at(dir)).unwrap();
        fs::write(served.at(dir).join("file"), "private").unwrap();
        fs::set_permissions(served.at(dir).join("file"), fs::Permissions::from_mode(0o600))
            .unwrap();
    }
    chown(served.at("theirs"), Some(1000), Some(1000)).unwrap();
    assert_eq!(served.read("/theirs/file"), Err(GuestErrorKind::PermissionDenied));
    let path = || "/roots/file".to_owned();
    for op in [
        FsOp::Delete { path: path(), recursive: false },
        FsOp::Move { from: path(), to: "/theirs/stolen".into() },
        FsOp::Chmod { path: path(), mode: 0o777 },
    ] {
        assert_eq!(served.refused(op), GuestErrorKind::PermissionDenied);
    }
    let Reply::Error(error) = served.write("/roots/file", b"x") else { panic!("not allowed") };
    assert_eq!(error.kind, GuestErrorKind::PermissionDenied);
    assert_eq!(stored(served.write("/theirs/new/file", b"x")), 1);
    let made = fs::metadata(served.at("theirs/new/file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1000));
    assert_eq!(fs::read(served.at("roots/file")).unwrap(), b"private");
}

#[test]
fn a_regular_file_moves_to_another_file_system() {
    let agent = crate::harness::Agent::start();
    let Ok(there) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut client = agent.connect();
    let from = agent.path("file");
    let to = there.path().join("file");
    fs::write(&from, vec![7; 300_000]).unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
    let mv = |from: &str, to: &Path| {
        Request::Fs(FsOp::Move { from: from.into(), to: to.to_str().unwrap().into() })
    };
    assert_eq!(client.ask(&mv(&from, &to)), Reply::Done);
    assert_eq!(fs::read(&to).unwrap(), vec![7; 300_000]);
    assert_eq!((mode_of(&to), Path::new(&from).exists()), (0o640, false));
    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 1);
    let dir = agent.path("dir");
    fs::create_dir(&dir).unwrap();
    let other_system = fs::metadata(&dir).is_ok_and(|here| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&to).unwrap().dev() != here.dev()
    });
    if other_system {
        assert_eq!(client.error(&mv(&dir, &there.path().join("dir"))), GuestErrorKind::Invalid);
    }
}
