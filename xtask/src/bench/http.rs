//! One HTTP/1.1 connection that is kept open, for JSON requests and answers.
//!
//! Written out over a plain socket so that the client costs as little as possible and the figures
//! are the server's. Speaks to our own server on loopback only: no TLS, no redirects.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;

/// An answer that takes longer than this never comes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// No answer that is measured is larger.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// More lines than any head of ours has.
const HEAD_LINES_MAX: usize = 100;

pub struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self, Failure> {
        let doing = || Failure::doing(format!("connect to {address}"));
        let stream = TcpStream::connect(address).map_err(doing())?;
        stream.set_nodelay(true).map_err(doing())?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(doing())?;
        Ok(Self { address, stream: BufReader::new(stream) })
    }

    /// Where the other end is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request and waits for its answer. `Value::Null` sends no body.
    pub fn ask(&mut self, method: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
        let asked = self.send(method, path, body).and_then(|()| read_answer(&mut self.stream));
        asked.map_err(Failure::doing(format!("ask the server: {method} {path}")))
    }

    fn send(&mut self, method: &str, path: &str, body: &Value) -> io::Result<()> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes())
    }
}

/// How the end of a body is known.
enum Length {
    Known(u64),
    Chunked,
}

fn read_answer(stream: &mut impl io::BufRead) -> io::Result<Answer> {
    let first = read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or_else(|| malformed("status line"))?;
    let mut length = Length::Known(0);
    for _ in 0..HEAD_LINES_MAX {
        let line = read_line(stream)?.to_ascii_lowercase();
        if line.is_empty() {
            let body = read_body(stream, &length)?;
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
            return Ok(Answer { status, body });
        }
        match line.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("content-length", count)) => {
                length = Length::Known(count.parse().map_err(|_| malformed("length"))?);
            }
            Some(("transfer-encoding", "chunked")) => length = Length::Chunked,
            Some(_) => {}
            None => return Err(malformed("header")),
        }
    }
    Err(malformed("head: too long"))
}

fn read_body(stream: &mut impl io::BufRead, length: &Length) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        Length::Known(count) => read_part(stream, *count, &mut body)?,
        Length::Chunked => loop {
            let line = read_line(stream)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed("chunk"))?;
            read_part(stream, size, &mut body)?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
        },
    }
    Ok(body)
}

fn read_part(stream: &mut impl io::BufRead, count: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if body.len() as u64 + count > BODY_BYTES_MAX {
        return Err(malformed("body: too large"));
    }
    let read = stream.take(count).read_to_end(body)?;
    if read as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(stream: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(BODY_BYTES_MAX).read_line(&mut line)?;
    if line.pop() != Some('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches('\r').to_owned())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(u16, String)> {
        read_answer(&mut text.as_bytes()).map(|it| (it.status, it.body.to_string()))
    }

    #[test]
    fn an_answer_of_known_length_and_one_in_chunks_read_the_same() {
        let known = "HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\n{\"a\":1}HTTP/1.1 ";
        let chunks = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(read(known).unwrap(), (201, "{\"a\":1}".to_owned()));
        assert_eq!(read(chunks).unwrap(), (201, "{\"a\":1}".to_owned()));
    }

    #[test]
    fn a_bad_or_cut_answer_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
