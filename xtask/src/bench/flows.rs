//! How much goes through, and how soon what is typed comes back: output, files, archives, a
//! terminal, a replay.
//!
//! Each flow runs a few times on one live sandbox over one connection of its own; a flow of bytes
//! is given as MB/s, a wait as milliseconds. The server's memory is looked at before and during.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::failure::Failure;

use super::memory;
use super::plane::Plane;

/// Bytes of one flow: long enough that its start does not count.
const FLOW_BYTES: u32 = 1 << 30;

/// Times that a flow of bytes is measured.
const FLOWS: u32 = 5;

/// Keys that are typed.
const KEYS: u32 = 500;

/// Times that 1 MiB is replayed.
const REPLAYS: u32 = 20;

/// Small files, sent as one archive and one by one.
const FILES: u32 = 5_000;

/// Directories that they are in.
const DIRECTORIES: u32 = 50;

/// Bytes of a small file.
const FILE_BYTES: usize = 1024;

/// Of the small files, how many are sent one by one; the rest of the time is reckoned.
const FILES_ONE_BY_ONE: u32 = 500;

/// An answer that takes longer than this never comes.
const LIMIT: Duration = Duration::from_mins(2);

/// One flow's figures.
pub struct Flow {
    pub name: &'static str,
    pub unit: &'static str,
    /// In the unit, sorted.
    pub samples: Vec<f64>,
    /// What we hold ourselves to: at least this for a rate, at most this for a wait.
    pub mark: Option<f64>,
}

/// Everything that was measured here.
pub struct Flows {
    pub flows: Vec<Flow>,
    /// The server's resident memory before and its largest during the flows of bytes, in KiB.
    pub server_rss_kib: (u64, u64),
}

impl Flow {
    fn rate(name: &'static str, samples: Vec<f64>) -> Self {
        Self::new(name, "MB/s", samples, Some(500.0))
    }

    fn new(
        name: &'static str,
        unit: &'static str,
        mut samples: Vec<f64>,
        mark: Option<f64>,
    ) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { name, unit, samples, mark }
    }

    /// The sample in the middle.
    pub fn median(&self) -> f64 {
        self.samples.get(self.samples.len() / 2).copied().unwrap_or(0.0)
    }

    /// Whether the median keeps the mark, where there is one.
    pub fn met(&self) -> Option<bool> {
        let more_is_better = matches!(self.unit, "MB/s" | "times");
        self.mark.map(
            |mark| {
                if more_is_better { self.median() >= mark } else { self.median() <= mark }
            },
        )
    }
}

/// Measures everything.
pub fn measure(plane: &mut Plane) -> Result<Flows, Failure> {
    let id = plane.create()?;
    let before = memory::resident(plane.pid())?;
    let bench = Bench { address: plane.address(), id };
    // Before the flows of bytes, which keep the disk busy for a while.
    let archive = bench.archive();
    let mut peak = before;
    let mut flows = Vec::new();
    for (name, flow) in [
        ("output, WebSocket", Bench::output_socket as fn(&Bench) -> io::Result<()>),
        ("output, NDJSON", Bench::output_lines),
        ("read a file", Bench::read_file),
        ("write a file", Bench::write_file),
    ] {
        let mut samples = Vec::new();
        if name == "read a file" {
            bench.write_file().map_err(Failure::doing("write the file that is read"))?;
        }
        for _ in 0..FLOWS {
            let begun = Instant::now();
            flow(&bench).map_err(Failure::doing(format!("measure: {name}")))?;
            samples.push(f64::from(FLOW_BYTES) / 1e6 / begun.elapsed().as_secs_f64());
            peak = peak.max(memory::resident(plane.pid())?);
        }
        flows.push(Flow::rate(name, samples));
    }
    let waits = [
        ("5,000 files, archive over one by one", archive, "times", 20.0),
        ("keystroke to echo, WebSocket", bench.keystrokes(), "ms", 2.0),
        ("replay 1 MiB of a background exec", bench.replay(), "ms", 10.0),
    ];
    for (name, samples, unit, mark) in waits {
        let samples = samples.map_err(Failure::doing(format!("measure: {name}")))?;
        flows.push(Flow::new(name, unit, samples, Some(mark)));
    }
    plane.reconnect()?;
    plane.delete(&bench.id)?;
    Ok(Flows { flows, server_rss_kib: (before, peak) })
}

struct Bench {
    address: SocketAddr,
    id: String,
}

impl Bench {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/sandboxes/{}/{rest}", self.id)
    }

    /// Sends a request on a connection of its own and returns what reads the answer's body.
    fn ask(&self, head: &str, body: &[u8]) -> io::Result<Body> {
        let mut stream = self.connect()?;
        let length = body.len();
        write!(stream, "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n")?;
        write!(stream, "content-length: {length}\r\n\r\n")?;
        stream.write_all(body)?;
        Body::of(stream)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    fn socket(&self, start: &Value) -> io::Result<WebSocket<TcpStream>> {
        let stream = self.connect()?;
        let url = format!("ws://{}{}", self.address, self.path("exec/ws"));
        let (mut socket, _) = tungstenite::client(url, stream).map_err(io::Error::other)?;
        socket.send(Message::text(start.to_string())).map_err(io::Error::other)?;
        socket.read().map_err(io::Error::other)?;
        Ok(socket)
    }

    fn output_socket(&self) -> io::Result<()> {
        let command = format!("head -c {FLOW_BYTES} /dev/zero");
        let mut socket = self.socket(&json!({ "type": "start", "command": command }))?;
        let mut read = 0;
        loop {
            match socket.read().map_err(io::Error::other)? {
                // The first byte says which output it is.
                Message::Binary(bytes) => read += bytes.len() as u64 - 1,
                Message::Text(text) if text.contains("\"exit\"") => return whole(read),
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn output_lines(&self) -> io::Result<()> {
        let command = format!("yes 'a line of output as programs write it' | head -c {FLOW_BYTES}");
        let body = json!({ "command": command, "stream": true }).to_string();
        let mut answer = self.ask(&format!("POST {}", self.path("exec")), body.as_bytes())?;
        let mut last = Vec::new();
        let mut line = Vec::new();
        while answer.read_until(b'\n', &mut line)? > 0 {
            std::mem::swap(&mut last, &mut line);
            line.clear();
        }
        let exit: Value = serde_json::from_slice(&last)?;
        whole(exit["stdout_bytes"].as_u64().unwrap_or(0))
    }

    fn read_file(&self) -> io::Result<()> {
        let mut answer =
            self.ask(&format!("GET {}", self.path("files?path=/workspace/big")), b"")?;
        whole(io::copy(&mut answer, &mut io::sink())?)
    }

    fn write_file(&self) -> io::Result<()> {
        let mut stream = self.connect()?;
        let path = self.path("files?path=/workspace/big");
        write!(stream, "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n")?;
        write!(stream, "content-type: application/octet-stream\r\n")?;
        write!(stream, "content-length: {FLOW_BYTES}\r\n\r\n")?;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..FLOW_BYTES as usize / piece.len() {
            stream.write_all(&piece)?;
        }
        Body::of(stream)?.read_to_end(&mut Vec::new()).map(drop)
    }

    /// How many times faster one archive is than a request for each file.
    fn archive(&self) -> io::Result<Vec<f64>> {
        let contents = vec![b'x'; FILE_BYTES];
        let tar = many_files(&contents)?;
        let mut times = Vec::new();
        for round in 0..3 {
            let begun = Instant::now();
            let to = self.path(&format!("files/archive?path=/workspace/many{round}&format=tar"));
            self.ask(&format!("POST {to}"), &tar)?.read_to_end(&mut Vec::new())?;
            let archive = begun.elapsed();
            let begun = Instant::now();
            let mut stream = BufReader::new(self.connect()?);
            for number in 0..FILES_ONE_BY_ONE {
                let to = self.path(&format!("files?path=/workspace/one{round}/f{number}"));
                let head = format!(
                    "POST {to} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n\
                     content-length: {FILE_BYTES}\r\n\r\n"
                );
                stream.get_mut().write_all(&[head.as_bytes(), &contents].concat())?;
                skip_answer(&mut stream)?;
            }
            let each = begun.elapsed() / FILES_ONE_BY_ONE;
            times.push(each.as_secs_f64() * f64::from(FILES) / archive.as_secs_f64());
        }
        Ok(times)
    }

    /// From a byte that is sent to the byte that a terminal echoes.
    fn keystrokes(&self) -> io::Result<Vec<f64>> {
        let start = json!({
            "type": "start", "command": "cat", "tty": { "cols": 80, "rows": 24 },
            "kill_on_disconnect": true,
        });
        let mut socket = self.socket(&start)?;
        let mut waits = Vec::new();
        for _ in 0..KEYS {
            let begun = Instant::now();
            socket.send(Message::binary(&b"k"[..])).map_err(io::Error::other)?;
            while !matches!(socket.read().map_err(io::Error::other)?, Message::Binary(_)) {}
            waits.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(waits)
    }

    /// From the request for the kept output to its last byte.
    fn replay(&self) -> io::Result<Vec<f64>> {
        let command = "yes 'a line of output as programs write it' | head -c 1048576";
        let body = json!({ "command": command, "background": true }).to_string();
        let mut answer = self.ask(&format!("POST {}", self.path("exec")), body.as_bytes())?;
        let exec: Value = serde_json::from_reader(&mut answer)?;
        let id = exec["exec_id"].as_str().unwrap_or_default();
        let output = format!("GET {}", self.path(&format!("execs/{id}/output")));
        // The first one waits for the program.
        self.ask(&output, b"")?.read_to_end(&mut Vec::new())?;
        let mut waits = Vec::new();
        for _ in 0..REPLAYS {
            let begun = Instant::now();
            let read = self.ask(&output, b"")?.read_to_end(&mut Vec::new())?;
            waits.push(begun.elapsed().as_secs_f64() * 1e3);
            if read < 1 << 20 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(waits)
    }
}

/// The small files as one archive, as `tar` makes it.
fn many_files(contents: &[u8]) -> io::Result<Vec<u8>> {
    let tree = tempfile::tempdir()?;
    for number in 0..FILES {
        let directory = tree.path().join(format!("d{}", number % DIRECTORIES));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("f{number}")), contents)?;
    }
    let packed = Command::new("tar").args(["-cf", "-", "-C"]).arg(tree.path()).arg(".").output()?;
    if packed.status.success() { Ok(packed.stdout) } else { Err(io::Error::other("tar failed")) }
}

fn whole(read: u64) -> io::Result<()> {
    if read == u64::from(FLOW_BYTES) {
        return Ok(());
    }
    let message = format!("{read} bytes came of {FLOW_BYTES}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

/// Reads an answer of known length that is not looked at.
fn skip_answer(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(count) = line.strip_prefix("content-length: ") {
            length = count.parse().map_err(io::Error::other)?;
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink()).map(drop)
}

/// The body of an answer on a connection that ends with it: of known length, or in chunks.
struct Body {
    stream: BufReader<TcpStream>,
    chunked: bool,
    /// Bytes that are left of the current chunk.
    left: u64,
}

impl Body {
    fn of(stream: TcpStream) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(256 * 1024, stream);
        let mut first = String::new();
        stream.read_line(&mut first)?;
        if !first.contains(" 20") {
            let mut rest = String::new();
            stream.read_to_string(&mut rest)?;
            return Err(io::Error::other(format!("the server answered {first}{rest}")));
        }
        let mut chunked = false;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                return Ok(Self { stream, chunked, left: 0 });
            }
            chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
        }
    }
}

impl io::Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl io::BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.chunked {
            return self.stream.fill_buf();
        }
        if self.left == 0 {
            let mut line = String::new();
            // Behind each chunk is an empty line.
            while line.trim_end().is_empty() {
                line.clear();
                if self.stream.read_line(&mut line)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if size == 0 {
                self.chunked = false;
                self.stream.read_line(&mut line)?;
                return Ok(&[]);
            }
            self.left = size;
        }
        let available = self.stream.fill_buf()?;
        let count = available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&available[..count])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.stream.consume(count);
    }
}
