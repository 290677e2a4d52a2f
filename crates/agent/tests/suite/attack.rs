//! Files: a job that swaps directories for links, and back, while every call is made on them. No
//! call may reach the canary outside of the root, nor what the job's user may not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use proto::{FsOp, Kind, Reply, Request};

use crate::served::{SECRET, Served, mode_of};

/// Swaps until it is dropped.
struct Attacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Makes `flip` a directory, a link to `outside`, nothing, and a file, in turn.
    fn start(real: PathBuf, flip: PathBuf, outside: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let _ = fs::rename(&real, &flip);
                std::thread::yield_now();
                let _ = fs::rename(&flip, &real);
                let _ = symlink(&outside, &flip);
                std::thread::yield_now();
                let _ = fs::remove_file(&flip);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What is outside, in every respect that a call could change.
fn outside(dir: &Path) -> Vec<(PathBuf, u32, u64, u32, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            (path, meta.mode(), meta.nlink(), meta.uid(), bytes)
        })
        .collect();
    found.sort();
    found
}

/// One round of every call, on paths through what is swapped.
fn every_call(served: &mut Served, archive: &[u8]) {
    let flip = || "/flip/secret".to_owned();
    let dir = || "/flip".to_owned();
    let read = served.read("/flip/secret");
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes == b"inside"));
    let packed = served.pack("/flip");
    let text = SECRET.as_bytes();
    assert!(packed.is_err() || !packed.unwrap().windows(text.len()).any(|part| part == text));
    let _ = served.write("/flip/secret", b"inside");
    let _ = served.write("/flip/new/file", b"inside");
    let _ = served.unpack("/flip", archive);
    for op in [
        FsOp::Chmod { path: flip(), mode: 0o777 },
        FsOp::Mkdir { path: "/flip/made".into(), mode: Some(0o777), parents: true },
        FsOp::Copy { from: flip(), to: "/copy".into(), recursive: false },
        FsOp::Copy { from: dir(), to: "/tree".into(), recursive: true },
        FsOp::Copy { from: "/own".into(), to: flip(), recursive: false },
        FsOp::Move { from: flip(), to: "/moved".into() },
        FsOp::Move { from: "/own".into(), to: flip() },
        FsOp::Delete { path: "/flip/made".into(), recursive: true },
        FsOp::Delete { path: "/flip/new".into(), recursive: true },
        FsOp::Delete { path: dir(), recursive: true },
    ] {
        let reply = served.fs(op.clone());
        assert!(matches!(reply, Reply::Done | Reply::Error(_)), "{op:?} {reply:?}");
    }
    for op in [
        FsOp::Stat { path: flip() },
        FsOp::List { path: dir(), limit: 100 },
        FsOp::Page { path: dir(), limit: 100, after: None },
        FsOp::Glob { pattern: "/flip/**".into(), limit: 100 },
        FsOp::Grep {
            path: dir(),
            pattern: ".".into(),
            recursive: true,
            ignore_case: false,
            limit: 100,
            names: None,
        },
    ] {
        let stream = served.client.open(&Request::Fs(op));
        let reply = served.client.reply(stream);
        if matches!(reply, Reply::Listing | Reply::Page { .. }) {
            let text = served.rest(stream);
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains("canary") && !text.contains(SECRET), "{text}");
        }
    }
    let watch = FsOp::Watch { path: dir(), recursive: true };
    let stream = served.client.open(&Request::Fs(watch));
    let _ = served.client.reply(stream);
    served.client.send(Kind::Reset, stream, b"");
    // A copy of the link itself is a link, and leads where a link of the job may lead.
    let is_tree = fs::symlink_metadata(served.at("tree")).is_ok_and(|meta| meta.is_dir());
    for path in ["copy", "moved"].into_iter().chain(is_tree.then_some("tree/secret")) {
        if let Ok(bytes) = fs::read(served.at(path)) {
            assert_eq!(bytes, b"inside", "{path}");
        }
    }
    for path in ["copy", "moved", "tree"] {
        let _ = fs::remove_file(served.at(path));
        let _ = fs::remove_dir_all(served.at(path));
    }
    fs::write(served.at("own"), "inside").unwrap();
}

fn attack(mut served: Served, rounds: usize) {
    let real = served.at("real");
    let fill = |real: &Path| {
        let _ = fs::create_dir(real);
        let _ = fs::write(real.join("secret"), "inside");
        let _ = chown(real, Some(1000), Some(1000));
        let _ = chown(real.join("secret"), Some(1000), Some(1000));
    };
    fs::create_dir(served.outer.path().join("beside")).unwrap();
    let beside = served.outer.path().join("beside");
    fs::write(beside.join("secret"), SECRET).unwrap();
    fs::write(beside.join("canary"), SECRET).unwrap();
    fill(&real);
    fs::write(served.at("own"), "inside").unwrap();
    let source = Served::new();
    fs::create_dir_all(source.at("sub")).unwrap();
    fs::write(source.at("sub/file"), "inside").unwrap();
    fs::write(source.at("secret"), "inside").unwrap();
    let mut source = source;
    let archive = source.pack("/").unwrap();
    let before = outside(&beside);
    let flip = served.at("flip");
    // A link as a job would make it: by a path beneath the root, and one that leads up.
    for target in [beside.clone(), PathBuf::from("../beside")] {
        let attacker = Attacker::start(real.clone(), flip.clone(), target);
        for _ in 0..rounds {
            every_call(&mut served, &archive);
            fill(&real);
        }
        drop(attacker);
        assert_eq!(outside(&beside), before);
        assert_eq!(fs::read_to_string(served.outer.path().join("secret")).unwrap(), SECRET);
        assert_eq!(fs::read_dir(served.outer.path()).unwrap().count(), 3);
    }
}

#[test]
fn no_call_on_a_path_that_is_swapped_reaches_outside() {
    attack(Served::new(), 25);
}

#[test]
fn no_call_on_a_path_that_is_swapped_has_more_rights_than_the_jobs_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut served = Served::as_user(1000);
    chown(&served.root, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(served.outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Beneath the root, but closed to the user.
    let closed = served.at("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("secret"), SECRET).unwrap();
    fs::write(closed.join("canary"), SECRET).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let before = outside(&closed);
    let real = served.at("real");
    let attacker = Attacker::start(real.clone(), served.at("flip"), "closed".into());
    let archive = Served::new().pack("/").unwrap();
    for _ in 0..25 {
        let _ = fs::create_dir(&real);
        let _ = fs::write(real.join("secret"), "inside");
        let _ = chown(&real, Some(1000), Some(1000));
        let _ = chown(real.join("secret"), Some(1000), Some(1000));
        every_call(&mut served, &archive);
    }
    drop(attacker);
    assert_eq!(outside(&closed), before);
    assert_eq!(mode_of(&closed), 0o700);
}

#[test]
fn a_tree_whose_directories_move_is_deleted_copied_and_packed_in_its_place_or_not_at_all() {
    let mut served = Served::new();
    let beside = served.outer.path().join("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("canary"), SECRET).unwrap();
    let deep = served.at("tree/a/b");
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let (from, elsewhere) = (deep.clone(), served.at("elsewhere"));
    let mover = std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            let _ = fs::rename(&from, &elsewhere);
            let _ = fs::rename(&elsewhere, &from);
        }
    });
    for _ in 0..150 {
        let _ = fs::create_dir_all(deep.join("c/d"));
        let _ = fs::write(deep.join("c/d/file"), "x");
        let _ = served.pack("/tree");
        let _ = served.fs(FsOp::Copy { from: "/tree".into(), to: "/copy".into(), recursive: true });
        for path in ["/copy", "/tree/a"] {
            let _ = served.fs(FsOp::Delete { path: path.into(), recursive: true });
        }
    }
    stop.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    assert_eq!(fs::read_to_string(beside.join("canary")).unwrap(), SECRET);
    assert!(served.root.is_dir());
}

#[test]
fn sockets_pipes_and_devices_are_neither_read_nor_written_nor_waited_for() {
    let mut served = Served::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, served.at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(served.at("socket")).unwrap();
    fs::write(served.at("file"), "x").unwrap();
    for name in ["fifo", "socket"] {
        let path = format!("/{name}");
        assert!(served.read(&path).is_err());
        assert!(matches!(served.write(&path, b"x"), Reply::Error(_)));
        let copy = FsOp::Copy { from: path.clone(), to: "/c".into(), recursive: true };
        assert!(matches!(served.fs(copy), Reply::Error(_)));
        assert!(served.pack(&path).is_err());
    }
    let packed = served.pack("/").unwrap();
    assert_eq!(packed.len(), 512 + 512 + 1024);
    let stream = served.client.open(&Request::Fs(FsOp::Pack { path: "/".into() }));
    assert_eq!(served.client.reply(stream), Reply::Done);
    assert_eq!(served.client.next(stream).0, Kind::Data);
}
