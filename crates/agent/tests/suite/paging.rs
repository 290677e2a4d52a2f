//! Files: a directory that is far larger than a listing may be, a part at a time.

use proto::{FsOp, Kind, Reply, Request};

use crate::client::Client;
use crate::harness::Agent;

/// Twice what one listing may have.
const FILES: usize = 200_000;

/// Entries of one part.
const PART: u32 = 25_000;

/// What a part may take: its names, and what is on its way to the client. All names at once are
/// 24 MiB.
const GROWTH_KIB_MAX: u64 = 12 * 1024;

fn name(number: usize) -> String {
    format!("{number:0100}")
}

/// A part, as lines of JSON, and where the next begins.
fn part(client: &mut Client, path: &str, after: Option<Vec<u8>>) -> (Vec<u8>, Option<Vec<u8>>) {
    let op = FsOp::Page { path: path.to_owned(), limit: PART, after };
    let stream = client.open(&Request::Fs(op));
    let reply = client.reply(stream);
    let Reply::Page { next } = reply else { panic!("{reply:?}") };
    let mut text = Vec::new();
    loop {
        match client.next(stream) {
            (Kind::Data, data) => {
                client.grant(stream, data.len());
                text.extend_from_slice(&data);
            }
            (Kind::End, _) => return (text, next),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_huge_directory_is_paged_through_in_little_memory() {
    let agent = Agent::start();
    // In memory, where so many files are made and removed in a second.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let directory = directory.path().to_str().unwrap();
    for number in 0..FILES {
        std::fs::File::create(format!("{directory}/{}", name(number))).unwrap();
    }
    let mut client = agent.connect();
    let before = agent.peak_kib();
    let (mut after, mut count) = (None, 0);
    loop {
        let (text, next) = part(&mut client, directory, after);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let wanted = format!("{{\"path\":\"{directory}/{}\"", name(count));
            assert!(line.starts_with(wanted.as_bytes()), "{}", String::from_utf8_lossy(line));
            count += 1;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    assert_eq!(count, FILES);
    let growth = agent.peak_kib() - before;
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
}
