//! Files: lines that are found, and changes that are followed.

use std::fs;
use std::os::unix::fs::symlink;

use proto::{FileChange, FileEvent, Found, FsOp, GuestErrorKind, Kind, Reply, Request};

use crate::served::{SECRET, Served};

fn grep(path: &str, pattern: &str) -> FsOp {
    FsOp::Grep {
        path: path.into(),
        pattern: pattern.into(),
        recursive: true,
        ignore_case: false,
        limit: 100,
        names: None,
    }
}

fn short(found: &[Found]) -> Vec<String> {
    let one = |found: &Found| match found {
        Found::Line { path, line, column, text } => format!("{path}:{line}:{column}:{text}"),
        Found::Truncated => "…".to_owned(),
    };
    found.iter().map(one).collect()
}

#[test]
fn lines_are_found_with_their_places() {
    let mut served = Served::new();
    served.write("/src/a.py", b"import os\r\nprint(os)\n\nlast os");
    served.write("/src/deep/b.txt", "ümport Os\n".as_bytes());
    served.write("/src/binary", b"os\0os");
    served.write("/src/late", &[vec![b'x'; 9000], b"\0\nos\n".to_vec()].concat());
    symlink("../src/a.py", served.at("src/link")).unwrap();
    symlink(served.outer.path().join("secret"), served.at("src/out")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, served.at("src/fifo"), rustix::fs::Mode::RWXU).unwrap();
    let found = served.lines(grep("/src", r"\bos\b"));
    assert_eq!(
        short(&found),
        [
            "/src/a.py:1:8:import os",
            "/src/a.py:2:7:print(os)",
            "/src/a.py:4:6:last os",
            "/src/late:2:1:os",
        ]
    );
    let op = FsOp::Grep {
        path: "/src".into(),
        pattern: "OS".into(),
        recursive: true,
        ignore_case: true,
        limit: 1,
        names: Some("*.txt".into()),
    };
    assert_eq!(short(&served.lines(op)), ["/src/deep/b.txt:1:9:ümport Os"]);
    assert_eq!(short(&served.lines(grep("/src/a.py", "^last"))), ["/src/a.py:4:1:last os"]);
    assert_eq!(served.lines::<Found>(grep("/", SECRET)), []);
    assert_eq!(served.refused(grep("/src/fifo", "x")), GuestErrorKind::NotAFile);
    assert_eq!(served.refused(grep("/none", "x")), GuestErrorKind::NotFound);
}

#[test]
fn what_is_found_is_bounded_and_patterns_take_linear_time() {
    let mut served = Served::new();
    served.write("/many", "line\n".repeat(300).as_bytes());
    fs::write(served.at("long"), vec![b'a'; 3_000_000]).unwrap();
    let found: Vec<Found> = served.lines(grep("/many", "line"));
    assert_eq!((found.len(), found.last()), (101, Some(&Found::Truncated)));
    let found: Vec<Found> = served.lines(grep("/long", "a"));
    let Found::Line { text, .. } = &found[0] else { panic!("a line") };
    assert_eq!((found.len(), text.len()), (1, 4096));
    served.write("/hostile", "a".repeat(20_000).as_bytes());
    assert_eq!(served.lines::<Found>(grep("/hostile", "(a+)+(a+)+b$")), []);
    for bad in ["(", "a{1000000}{1000000}", &"(".repeat(10_000), "[z-a]"] {
        assert_eq!(served.refused(grep("/", bad)), GuestErrorKind::Pattern, "{bad:.20}");
    }
}

/// Events up to one about a path of this end.
fn until(served: &mut Served, stream: u32, end: &str) -> Vec<FileEvent> {
    let mut events = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let (kind, data) = served.client.next(stream);
        assert_eq!(kind, Kind::Data);
        served.client.grant(stream, data.len());
        bytes.extend_from_slice(&data);
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=at).collect();
            let event: FileEvent = serde_json::from_slice(&line).unwrap();
            let over = event.path.ends_with(end);
            events.push(event);
            if over {
                return events;
            }
        }
    }
}

fn watch(served: &mut Served, path: &str, recursive: bool) -> u32 {
    let op = FsOp::Watch { path: path.into(), recursive };
    let stream = served.client.open(&Request::Fs(op));
    assert_eq!(served.client.reply(stream), Reply::Listing);
    stream
}

fn words(events: &[FileEvent]) -> Vec<String> {
    let one = |event: &FileEvent| {
        let from = event.from.as_ref().map(|from| format!(" < {from}")).unwrap_or_default();
        format!("{:?} {}{from}", event.change, event.path)
    };
    let mut words: Vec<_> = events.iter().map(one).collect();
    words.dedup();
    words
}

#[test]
fn changes_are_told_as_they_happen() {
    let mut served = Served::new();
    fs::create_dir_all(served.at("d/sub/deep")).unwrap();
    let stream = watch(&mut served, "/d", true);
    fs::write(served.at("d/f"), "x").unwrap();
    fs::rename(served.at("d/f"), served.at("d/sub/g")).unwrap();
    fs::rename(served.at("d/sub"), served.at("d/other")).unwrap();
    fs::write(served.at("d/other/deep/h"), "").unwrap();
    fs::remove_file(served.at("d/other/g")).unwrap();
    fs::rename(served.at("d/other/deep"), served.at("away")).unwrap();
    fs::write(served.at("away/unseen"), "").unwrap();
    fs::rename(served.at("away"), served.at("d/back")).unwrap();
    fs::write(served.at("d/back/z end"), "").unwrap();
    let events = until(&mut served, stream, "/z end");
    let expected = [
        "Created /d/f",
        "Modified /d/f",
        "Moved /d/sub/g < /d/f",
        "Moved /d/other < /d/sub",
        "Created /d/other/deep/h",
        "Deleted /d/other/g",
        "Deleted /d/other/deep",
        "Created /d/back",
    ];
    let found = words(&events);
    let places: Vec<_> =
        expected.iter().map(|word| found.iter().position(|found| found == word)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{found:?}");
    assert!(found.contains(&"Created /d/back/h".to_owned()), "{found:?}");
    assert!(found.contains(&"Created /d/back/unseen".to_owned()), "{found:?}");
}

#[test]
fn a_watch_of_one_level_sees_one_level_and_of_a_file_the_file() {
    let mut served = Served::new();
    fs::create_dir_all(served.at("d/sub")).unwrap();
    fs::write(served.at("d/f"), "").unwrap();
    let flat = watch(&mut served, "/d", false);
    let file = watch(&mut served, "/d/f", false);
    fs::write(served.at("d/sub/unseen"), "").unwrap();
    fs::write(served.at("d/f"), "more").unwrap();
    fs::write(served.at("d/end"), "").unwrap();
    let found = words(&until(&mut served, flat, "/end"));
    assert!(found.contains(&"Modified /d/f".to_owned()), "{found:?}");
    assert!(!found.iter().any(|word| word.contains("unseen")), "{found:?}");
    let seen = until(&mut served, file, "/f");
    assert_eq!((seen[0].change, seen[0].is_dir), (FileChange::Modified, false));
    served.client.send(Kind::Reset, flat, b"");
    served.client.send(Kind::Reset, file, b"");
}

#[test]
fn a_watch_through_a_link_stays_beneath_the_root() {
    let mut served = Served::new();
    symlink(served.outer.path(), served.at("out")).unwrap();
    symlink("..", served.at("up")).unwrap();
    let op = FsOp::Watch { path: "/out".into(), recursive: true };
    assert_eq!(served.refused(op), GuestErrorKind::NotFound);
    let stream = watch(&mut served, "/up", true);
    fs::write(served.outer.path().join("unseen"), "").unwrap();
    fs::remove_file(served.outer.path().join("unseen")).unwrap();
    served.write("/end", b"");
    let found = words(&until(&mut served, stream, "end"));
    assert!(!found.iter().any(|word| word.contains("unseen")), "{found:?}");
}

#[test]
fn a_watch_of_too_many_directories_is_refused_with_the_limit() {
    let mut served = Served::new();
    for number in 0..8193 {
        fs::create_dir(served.at(&number.to_string())).unwrap();
    }
    let op = FsOp::Watch { path: "/".into(), recursive: true };
    let Reply::OverLimit { limit, .. } = served.fs(op) else { panic!("over a limit") };
    assert_eq!(limit, "watches");
}
