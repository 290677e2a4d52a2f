//! Files: directories that are made, parts of listings, validators and writes under a condition.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use proto::{Entry, FsOp, GuestErrorKind, Kind, Precondition, Reply, Request};

use crate::served::{Served, mode_of, stored};

fn mkdir(path: &str, mode: Option<u32>, parents: bool) -> FsOp {
    FsOp::Mkdir { path: path.into(), mode, parents }
}

#[test]
fn a_directory_is_made_once_or_with_its_parents_any_number_of_times() {
    let mut served = Served::new();
    assert_eq!(served.refused(mkdir("/a/b", None, false)), GuestErrorKind::NotFound);
    assert_eq!(served.fs(mkdir("/a", Some(0o700), false)), Reply::Done);
    assert_eq!(served.refused(mkdir("/a", None, false)), GuestErrorKind::Exists);
    assert_eq!(served.fs(mkdir("/a/b/c d", Some(0o2775), true)), Reply::Done);
    assert_eq!(served.fs(mkdir("/a/b/c d", None, true)), Reply::Done);
    assert_eq!(mode_of(&served.at("a")), 0o700);
    assert_eq!(mode_of(&served.at("a/b")), 0o755);
    assert_eq!(mode_of(&served.at("a/b/c d")), 0o2775);
    served.write("/file", b"x");
    symlink("a", served.at("link")).unwrap();
    symlink("nowhere", served.at("dangling")).unwrap();
    assert_eq!(served.refused(mkdir("/file", None, true)), GuestErrorKind::Exists);
    assert_eq!(served.refused(mkdir("/dangling", None, true)), GuestErrorKind::Exists);
    assert_eq!(served.refused(mkdir("/file/x", None, true)), GuestErrorKind::NotADirectory);
    assert_eq!(served.fs(mkdir("/link", None, true)), Reply::Done);
    assert_eq!(served.refused(mkdir("/link", None, false)), GuestErrorKind::Exists);
    assert_eq!(served.refused(mkdir("/", None, false)), GuestErrorKind::Exists);
    assert_eq!(served.fs(mkdir("/", None, true)), Reply::Done);
}

#[test]
fn a_listing_comes_in_parts_that_together_are_all_of_it() {
    let mut served = Served::new();
    for number in 0..57 {
        fs::write(served.at(&format!("{number:02}")), "").unwrap();
    }
    let odd = std::ffi::OsStr::from_bytes(b"30 \xff\n");
    fs::write(served.root.join(odd), "").unwrap();
    let mut after = None;
    let mut found: Vec<Entry> = Vec::new();
    loop {
        let op = FsOp::Page { path: "/".into(), limit: 10, after: after.clone() };
        let (reply, entries) = served.listing(op);
        let Reply::Page { next } = reply else { panic!("{reply:?}") };
        found.extend(entries);
        if next.is_none() {
            break;
        }
        assert_eq!(found.len() % 10, 0);
        after = next;
    }
    assert_eq!(found.len(), 58);
    assert_eq!(found[31].name_bytes.as_deref(), Some(odd.as_bytes()));
    assert_eq!(found[31].path, "/30 \u{fffd}\n");
    let paths = || found.iter().map(|entry| &entry.path);
    assert!(paths().is_sorted() && found[30].name_bytes.is_none());
}

#[test]
fn a_validator_changes_with_the_file_and_not_without() {
    let mut served = Served::new();
    let Reply::Stored { etag, .. } = served.write("/f", b"one") else { panic!("stored") };
    assert_eq!(served.stat("/f").etag, etag);
    assert_eq!(served.read("/f").unwrap(), b"one");
    assert_eq!(served.stat("/f").etag, etag);
    let mut seen = vec![etag];
    for change in 0..3 {
        match change {
            0 => drop(served.write("/f", b"two")),
            1 => drop(served.fs(FsOp::Chmod { path: "/f".into(), mode: 0o600 })),
            _ => fs::write(served.at("f"), "three").unwrap(),
        }
        let now = served.stat("/f").etag;
        assert!(!seen.contains(&now), "{now}");
        seen.push(now);
    }
}

#[test]
fn a_write_under_a_condition_happens_when_it_holds() {
    let mut served = Served::new();
    let write = |served: &mut Served, only, data: &[u8]| {
        let path = "/f".to_owned();
        let request = Request::Write { path, mode: None, parents: false, only: Some(only) };
        let stream = served.client.open(&request);
        served.client.send(Kind::Data, stream, data);
        served.client.send(Kind::End, stream, b"");
        served.client.reply(stream)
    };
    let is = |etag: &str| Precondition::Is { etags: vec!["x".into(), etag.into()] };
    let refused = |reply| {
        let Reply::Error(error) = reply else { panic!("{reply:?}") };
        assert_eq!(error.kind, GuestErrorKind::Changed);
    };
    refused(write(&mut served, Precondition::Exists, b"0"));
    refused(write(&mut served, is("y"), b"0"));
    let Reply::Stored { etag, .. } = write(&mut served, Precondition::Absent, b"1") else {
        panic!("there was no file")
    };
    refused(write(&mut served, Precondition::Absent, b"2"));
    assert_eq!(stored(write(&mut served, is(&etag), b"22")), 2);
    refused(write(&mut served, is(&etag), b"3"));
    assert_eq!(stored(write(&mut served, Precondition::Exists, b"333")), 3);
    assert_eq!((served.read("/f").unwrap(), served.leftovers()), (b"333".to_vec(), 0));
}

#[test]
fn of_writers_with_one_condition_one_wins() {
    let mut served = Served::new();
    let begin = |served: &mut Served, only| {
        let path = "/f".to_owned();
        let request = Request::Write { path, mode: None, parents: false, only: Some(only) };
        served.client.open(&request)
    };
    let Reply::Stored { etag, .. } = served.write("/f", b"0") else { panic!("stored") };
    for only in [Precondition::Is { etags: vec![etag] }, Precondition::Absent] {
        if only == Precondition::Absent {
            fs::remove_file(served.at("f")).unwrap();
        }
        let streams: Vec<_> = (0..8).map(|_| begin(&mut served, only.clone())).collect();
        while served.leftovers() < 8 {
            std::thread::yield_now();
        }
        for stream in &streams {
            served.client.send(Kind::End, *stream, b"");
        }
        let replies: Vec<_> = streams.iter().map(|one| served.client.reply(*one)).collect();
        let won = replies.iter().filter(|reply| matches!(reply, Reply::Stored { .. })).count();
        assert_eq!(won, 1, "{replies:?}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let mut served = Served::new();
    fs::File::create(served.at("f")).unwrap().set_len(64 << 20).unwrap();
    let stream = served.client.open(&Request::Read { path: "/f".into(), offset: 0, length: None });
    assert!(matches!(served.client.reply(stream), Reply::File { .. }));
    let (kind, data) = served.client.next(stream);
    assert_eq!(kind, Kind::Data);
    fs::File::options().write(true).open(served.at("f")).unwrap().set_len(10).unwrap();
    served.client.grant(stream, data.len());
    let error = loop {
        match served.client.next(stream) {
            (Kind::Data, data) => served.client.grant(stream, data.len()),
            (Kind::Reset, payload) => break payload,
            (kind, _) => panic!("{kind:?}"),
        }
    };
    let error: proto::GuestError = serde_json::from_slice(&error).unwrap();
    assert_eq!(error.kind, GuestErrorKind::Busy);
}
