//! The fixture of the file tests: an agent whose root is a directory of the test's own.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use agent::{Agent, Holdings};
use proto::{AgentConfig, Entry, FsOp, GuestErrorKind, Kind, Reply, Request};
use tempfile::TempDir;

use crate::client::Client;

/// A served directory and its client. Beside the directory is a secret that must not be reached.
pub struct Served {
    pub client: Client,
    pub root: PathBuf,
    pub outer: TempDir,
}

pub const SECRET: &str = "secret of the host";

impl Served {
    pub fn new() -> Self {
        Self::as_user(rustix::process::geteuid().as_raw())
    }

    pub fn as_user(uid: u32) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outer.path().join("secret"), SECRET).unwrap();
        let config = AgentConfig {
            listen_fd: -1,
            kill_cgroup_fd: None,
            oom_fd: None,
            uid,
            gid: uid,
            env: Vec::new(),
            workdir: "/".into(),
            max_execs: 0,
        };
        let holdings = Holdings {
            root: OwnedFd::from(fs::File::open(&root).unwrap()),
            kill_cgroup: None,
            oom_counter: None,
        };
        let agent = Agent::new(config, holdings).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || agent::serve(&agent, theirs.into()));
        Self { client: Client::over(ours), root, outer }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn fs(&mut self, op: FsOp) -> Reply {
        self.client.ask(&Request::Fs(op))
    }

    pub fn refused(&mut self, op: FsOp) -> GuestErrorKind {
        self.client.error(&Request::Fs(op))
    }

    pub fn stat(&mut self, path: &str) -> Entry {
        let Reply::Entry(entry) = self.fs(FsOp::Stat { path: path.into() }) else {
            panic!("an entry")
        };
        entry
    }

    pub fn write(&mut self, path: &str, data: &[u8]) -> Reply {
        self.write_as(path, data, None)
    }

    pub fn write_as(&mut self, path: &str, data: &[u8], mode: Option<u32>) -> Reply {
        let request = Request::Write { path: path.into(), mode, parents: true, only: None };
        let stream = self.client.open(&request);
        self.client.send(Kind::Data, stream, data);
        self.client.send(Kind::End, stream, b"");
        self.client.reply(stream)
    }

    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, GuestErrorKind> {
        self.read_part(path, 0, None)
    }

    pub fn read_part(
        &mut self,
        path: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Vec<u8>, GuestErrorKind> {
        let stream = self.client.open(&Request::Read { path: path.into(), offset, length });
        let reply = self.client.reply(stream);
        if let Reply::Error(error) = reply {
            return Err(error.kind);
        }
        assert!(matches!(reply, Reply::File { .. }), "{reply:?}");
        Ok(self.rest(stream))
    }

    pub fn rest(&mut self, stream: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.client.next(stream) {
                (Kind::Data, data) => {
                    self.client.grant(stream, data.len());
                    bytes.extend_from_slice(&data);
                }
                (Kind::End, _) => return bytes,
                (kind, payload) => panic!("{kind:?} {}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    pub fn lines<T: serde::de::DeserializeOwned>(&mut self, op: FsOp) -> Vec<T> {
        let (reply, lines) = self.listing(op);
        assert_eq!(reply, Reply::Listing);
        lines
    }

    pub fn listing<T: serde::de::DeserializeOwned>(&mut self, op: FsOp) -> (Reply, Vec<T>) {
        let stream = self.client.open(&Request::Fs(op));
        let reply = self.client.reply(stream);
        let text = self.rest(stream);
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        (reply, lines)
    }

    pub fn pack(&mut self, path: &str) -> Result<Vec<u8>, GuestErrorKind> {
        let stream = self.client.open(&Request::Fs(FsOp::Pack { path: path.into() }));
        let reply = self.client.reply(stream);
        if let Reply::Error(error) = reply {
            return Err(error.kind);
        }
        assert_eq!(reply, Reply::Done);
        let mut bytes = Vec::new();
        loop {
            match self.client.next(stream) {
                (Kind::Data, data) => {
                    self.client.grant(stream, data.len());
                    bytes.extend_from_slice(&data);
                }
                (Kind::Reset, payload) => {
                    let error: proto::GuestError = serde_json::from_slice(&payload).unwrap();
                    return Err(error.kind);
                }
                (kind, _) => {
                    assert_eq!(kind, Kind::End);
                    return Ok(bytes);
                }
            }
        }
    }

    pub fn unpack(&mut self, path: &str, bytes: &[u8]) -> Reply {
        let op = FsOp::Unpack { path: path.into(), entries: 10_000, bytes: 1 << 30 };
        let stream = self.client.open(&Request::Fs(op));
        for chunk in bytes.chunks(200_000) {
            self.client.send(Kind::Data, stream, chunk);
        }
        self.client.send(Kind::End, stream, b"");
        self.client.reply(stream)
    }

    pub fn glob(&mut self, pattern: &str) -> Vec<String> {
        self.lines(FsOp::Glob { pattern: pattern.into(), limit: 1000 })
    }

    pub fn leftovers(&self) -> usize {
        fs::read_dir(&self.root)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(".stacyvm-"))
            .count()
    }
}

pub fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// How many bytes a write stored.
#[track_caller]
pub fn stored(reply: Reply) -> u64 {
    let error = format!("{reply:?}");
    if let Reply::Stored { bytes, etag } = reply {
        drop(etag);
        return bytes;
    }
    panic!("{error}")
}
