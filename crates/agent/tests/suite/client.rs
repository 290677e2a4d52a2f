//! A small blocking host side of the protocol, for tests only.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use proto::{
    ExecExit, ExecStart, GENERATION, GuestError, GuestErrorKind, HEADER_LEN, Header, Hello, Kind,
    MAX_PAYLOAD, Program, Reply, Request, Stdin,
};

/// Longer than any test may take to hear of something.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    pub socket: UnixStream,
    pub hello: Hello,
    next_stream: u32,
    waiting: HashMap<u32, VecDeque<(Kind, Vec<u8>)>>,
}

/// All that an exec said.
#[derive(Debug)]
pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: ExecExit,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    pub fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello = Hello { generation: 0, agent: 0 };
        let mut client = Self { socket, hello, next_stream: 1, waiting: HashMap::new() };
        let own = Hello { generation: GENERATION, agent: 0 };
        client.send(Kind::Hello, 0, &serde_json::to_vec(&own).unwrap());
        let (header, payload) = client.read_frame().unwrap();
        assert_eq!((header.kind, header.stream), (Kind::Hello, 0));
        client.hello = serde_json::from_slice(&payload).unwrap();
        client
    }

    pub fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut frame = Header::of(kind, stream, payload).encode().to_vec();
        frame.extend_from_slice(payload);
        self.socket.write_all(&frame).unwrap();
    }

    pub fn open(&mut self, request: &Request) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 1;
        self.send(Kind::Open, stream, &serde_json::to_vec(request).unwrap());
        stream
    }

    pub fn read_frame(&mut self) -> std::io::Result<(Header, Vec<u8>)> {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header)?;
        let header = Header::decode(header).unwrap();
        let mut payload = vec![0; header.len as usize];
        self.socket.read_exact(&mut payload)?;
        Ok((header, payload))
    }

    /// The stream's next frame but credit; frames of other streams are kept for later.
    pub fn next(&mut self, stream: u32) -> (Kind, Vec<u8>) {
        loop {
            if let Some(frame) = self.waiting.entry(stream).or_default().pop_front() {
                return frame;
            }
            let (header, payload) = self.read_frame().unwrap();
            if header.kind != Kind::Window {
                self.waiting.entry(header.stream).or_default().push_back((header.kind, payload));
            }
        }
    }

    pub fn grant(&mut self, stream: u32, bytes: usize) {
        self.send(Kind::Window, stream, &u32::try_from(bytes).unwrap().to_le_bytes());
    }

    pub fn reply(&mut self, stream: u32) -> Reply {
        let (kind, payload) = self.next(stream);
        assert_eq!(kind, Kind::Reply, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        let stream = self.open(request);
        self.reply(stream)
    }

    pub fn error(&mut self, request: &Request) -> GuestErrorKind {
        let reply = self.ask(request);
        if matches!(reply, Reply::OverLimit { .. }) {
            return GuestErrorKind::Limit;
        }
        let Reply::Error(error) = reply else { panic!("{reply:?} to what is to be refused") };
        error.kind
    }

    /// Starts an exec and reads its first reply.
    pub fn start(&mut self, start: ExecStart) -> u32 {
        let stream = self.open(&Request::Exec(start));
        let reply = self.reply(stream);
        assert_eq!(reply, Reply::Started { stdout_offset: 0, stderr_offset: 0 });
        stream
    }

    /// Reads an exec to its exit.
    pub fn finish(&mut self, stream: u32) -> Finished {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.next(stream) {
                (Kind::Data, bytes) => {
                    self.grant(stream, bytes.len());
                    stdout.extend_from_slice(&bytes);
                }
                (Kind::DataErr, bytes) => {
                    self.grant(stream, bytes.len());
                    stderr.extend_from_slice(&bytes);
                }
                (Kind::Exit, exit) => {
                    let exit = serde_json::from_slice(&exit).unwrap();
                    return Finished { stdout, stderr, exit };
                }
                (kind, payload) => panic!("{kind:?} {}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    pub fn run(&mut self, start: ExecStart) -> Finished {
        let stream = self.start(start);
        self.finish(stream)
    }

    /// Runs a shell command.
    pub fn shell(&mut self, line: &str) -> Finished {
        self.run(shell(line))
    }

    /// Opens a request to write to an exec's input.
    pub fn input(&mut self, exec_id: &str, close: bool) -> u32 {
        self.open(&Request::Input { exec_id: exec_id.into(), close })
    }

    /// Writes all of `bytes`, which fit a window, to an exec's input.
    pub fn write(&mut self, exec_id: &str, bytes: &[u8], close: bool) {
        let stream = self.input(exec_id, close);
        bytes.chunks(MAX_PAYLOAD).for_each(|chunk| self.send(Kind::Data, stream, chunk));
        self.send(Kind::End, stream, b"");
        assert_eq!(self.reply(stream), Reply::Written { bytes: bytes.len() as u64 });
    }

    /// Watches an exec; the offsets that it starts at.
    pub fn watch(&mut self, exec_id: &str, from: [u64; 2]) -> (u32, [u64; 2]) {
        let stream = self.open(&Request::Watch {
            exec_id: exec_id.into(),
            stdout_offset: from[0],
            stderr_offset: from[1],
        });
        let reply = self.reply(stream);
        let Reply::Started { stdout_offset, stderr_offset } = reply else { panic!("{reply:?}") };
        (stream, [stdout_offset, stderr_offset])
    }

    /// Waits for an exec's end.
    pub fn exit_of(&mut self, exec_id: &str) -> ExecExit {
        let stream = self.open(&Request::Wait { exec_id: exec_id.into() });
        assert!(matches!(self.reply(stream), Reply::Started { .. }));
        self.finish(stream).exit
    }

    /// Reads output until it ends with `end`.
    pub fn read_until(&mut self, stream: u32, end: &str) -> String {
        let mut output = Vec::new();
        while !output.ends_with(end.as_bytes()) {
            let (kind, data) = self.next(stream);
            let so_far = String::from_utf8_lossy(&output).into_owned();
            assert_eq!(kind, Kind::Data, "after {so_far:?}");
            self.grant(stream, data.len());
            output.extend_from_slice(&data);
        }
        String::from_utf8(output).unwrap()
    }

    pub fn signal(&mut self, exec_id: &str, signal: i32) -> Reply {
        self.ask(&Request::Signal { exec_id: exec_id.into(), signal })
    }

    /// Follows an exec; the offsets that it starts at.
    pub fn attach(&mut self, exec_id: &str, from: [u64; 2]) -> (u32, [u64; 2]) {
        let stream = self.open(&Request::Attach {
            exec_id: exec_id.into(),
            stdout_offset: from[0],
            stderr_offset: from[1],
        });
        let reply = self.reply(stream);
        let Reply::Started { stdout_offset, stderr_offset } = reply else { panic!("{reply:?}") };
        (stream, [stdout_offset, stderr_offset])
    }

    /// Reads until the stream has sent so much output in all.
    pub fn read_output(&mut self, stream: u32, bytes: usize) -> Vec<u8> {
        let mut output = Vec::new();
        while output.len() < bytes {
            let (kind, data) = self.next(stream);
            assert_eq!(kind, Kind::Data);
            self.grant(stream, data.len());
            output.extend_from_slice(&data);
        }
        output
    }

    /// Reads the reason of a reset.
    pub fn reset_reason(&mut self, stream: u32) -> GuestError {
        let (kind, payload) = self.next(stream);
        assert_eq!(kind, Kind::Reset);
        serde_json::from_slice(&payload).unwrap()
    }

    /// Whether the agent has ended this connection.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.read_frame() {
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn next_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("e-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A shell command with the defaults of a plain call.
pub fn shell(line: &str) -> ExecStart {
    ExecStart {
        exec_id: next_id(),
        program: Program::Shell { line: line.into() },
        env: Vec::new(),
        workdir: None,
        timeout_ms: None,
        grace_ms: 5000,
        drain_ms: 200,
        stdin: Stdin::Null,
        ring_bytes: 1024 * 1024,
        end_with_connection: false,
        detached: false,
        tty: None,
        user: None,
    }
}

/// A program run without a shell.
pub fn argv(words: &[&str]) -> ExecStart {
    let argv = words.iter().map(ToString::to_string).collect();
    ExecStart { program: Program::Argv { argv }, ..shell("") }
}
