//! The guest of every driver that runs the agent: requests and streams over one connection.
//!
//! Drivers call [`AgentGuest::open`] with whatever transport reaches their sandbox. The agent on
//! the other side may have been taken over by the workload: nothing it says is trusted with a
//! size, a path or a wait.

mod convert;
#[cfg(test)]
mod convert_tests;
mod inbox;
mod link;
mod notices;
mod port;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use model::{
    ArchiveLimits, ExecId, ExecSpec, Failure, FileEvent, FileInfo, FileOp, FilePage, FileReply,
    Reason, SandboxPath, Stored, TtySize, Unpacked,
};
use proto::{FsOp, Kind, Reply, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::guest::{
    ByteRange, ByteStream, Duplex, ExecEvent, ExecSession, ExecStatus, Guest, Offsets, WatchStream,
    WriteOptions,
};
pub use link::LinkError;
use link::{Channel, Link};

/// How long the agent may take to start a program or answer a small question.
const REPLY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a file operation may take: a recursive delete of millions of files is one.
const FS_DEADLINE: Duration = Duration::from_mins(5);

/// After a program's timeout and grace, how long the agent may take to report the end.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);

/// The largest listing that is read, in bytes: [`convert::LISTING_MAX`] entries with long names.
const LISTING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to an agent.
#[derive(Debug)]
pub struct AgentGuest {
    link: Arc<Link>,
}

impl AgentGuest {
    /// Says hello on a fresh transport.
    pub async fn open<T>(transport: T) -> Result<Self, LinkError>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        Ok(Self { link: Link::open(transport).await? })
    }

    async fn ask(&self, request: &Request, deadline: Duration) -> Result<Reply, Failure> {
        self.link.request(request)?.reply(deadline).await
    }

    /// Sends bytes behind a request; the answer of who takes them.
    async fn send(&self, request: &Request, mut body: ByteStream) -> Result<Reply, Failure> {
        let channel = self.link.request(request)?;
        let send = async {
            while let Some(chunk) = body.next().await {
                channel.send_data(chunk?).await?;
            }
            channel.send_end();
            std::future::pending::<Result<Bytes, Failure>>().await
        };
        // The agent may refuse at any moment; then the rest of the body is not sent.
        let item = tokio::select! {
            item = channel.next() => item.ok_or_else(convert::connection_lost)?,
            failed = send => {
                return failed.and_then(|_| Err(convert::protocol_broken("an end of the body")));
            }
        };
        match (item.kind, serde_json::from_slice(&item.payload)) {
            (Kind::Reply, Ok(Reply::Error(error))) => Err(convert::guest_error(error)),
            (Kind::Reply, Ok(Reply::BadArchive { member, message })) => {
                Err(convert::bad_archive(member, message))
            }
            (Kind::Reply, Ok(Reply::OverLimit { limit, max, message })) => {
                Err(convert::over_limit(limit, max, message))
            }
            (Kind::Reply, Ok(reply)) => Ok(reply),
            (Kind::Reset, _) => Err(convert::reset(&item.payload)),
            (_, _) => Err(convert::protocol_broken("a reply")),
        }
    }

    async fn follow(
        &self,
        request: &Request,
        end: Option<Duration>,
    ) -> Result<ExecSession, Failure> {
        let channel = Arc::new(self.link.request(request)?);
        let reply = channel.reply(REPLY_DEADLINE).await?;
        let Reply::Started { stdout_offset, stderr_offset } = reply else {
            return Err(convert::protocol_broken("a started exec"));
        };
        let deadline = end.map(|end| tokio::time::Instant::now() + end + REPORT_DEADLINE);
        Ok(ExecSession {
            events: exec_events(channel, deadline).boxed(),
            start: Offsets { stdout: stdout_offset, stderr: stderr_offset },
        })
    }
}

/// The frames of an exec as events, up to its exit or the first failure.
fn exec_events(
    channel: Arc<Channel>,
    deadline: Option<tokio::time::Instant>,
) -> impl futures::Stream<Item = Result<ExecEvent, Failure>> + Send {
    stream::unfold(Some(channel), move |channel| async move {
        let channel = channel?;
        let item = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, channel.next()).await {
                Ok(item) => item,
                Err(_) => return Some((Err(convert::no_answer(REPORT_DEADLINE)), None)),
            },
            None => channel.next().await,
        };
        let Some(item) = item else {
            return Some((Err(convert::connection_lost()), None));
        };
        Some(match item.kind {
            Kind::Data => (Ok(ExecEvent::Stdout(item.payload)), Some(channel)),
            Kind::DataErr => (Ok(ExecEvent::Stderr(item.payload)), Some(channel)),
            Kind::Exit => match serde_json::from_slice(&item.payload) {
                Ok(exit) => (Ok(ExecEvent::Exit(convert::exec_exit(exit))), None),
                Err(_) => (Err(convert::protocol_broken("an exit")), None),
            },
            Kind::Reset => (Err(convert::reset(&item.payload)), None),
            Kind::Hello
            | Kind::Open
            | Kind::Reply
            | Kind::End
            | Kind::Window
            | Kind::Ping
            | Kind::Pong => (Err(convert::protocol_broken("output or an exit")), None),
        })
    })
}

/// The data frames of a stream, up to its end.
fn data(channel: Arc<Channel>) -> ByteStream {
    stream::unfold(Some(channel), |channel| async move {
        let channel = channel?;
        let Some(item) = channel.next().await else {
            return Some((Err(convert::connection_lost()), None));
        };
        match item.kind {
            Kind::Data => Some((Ok(item.payload), Some(channel))),
            Kind::End => None,
            Kind::Reset => Some((Err(convert::reset(&item.payload)), None)),
            Kind::Hello
            | Kind::Open
            | Kind::Reply
            | Kind::DataErr
            | Kind::Window
            | Kind::Exit
            | Kind::Ping
            | Kind::Pong => Some((Err(convert::protocol_broken("data or an end")), None)),
        }
    })
    .boxed()
}

/// Everything on a stream that carries a listing.
async fn listing(channel: Channel) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut chunks = data(Arc::new(channel));
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > LISTING_BYTES_MAX {
            let message = format!("the listing is over {LISTING_BYTES_MAX} bytes");
            return Err(Failure::new(Reason::TooLarge, message));
        }
    }
    Ok(bytes)
}

fn lines<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, Failure> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).map_err(|_| convert::protocol_broken("an entry")))
        .collect()
}

#[async_trait]
impl Guest for AgentGuest {
    fn is_connected(&self) -> bool {
        self.link.is_open()
    }

    async fn ping(&self) -> Result<(), Failure> {
        tokio::time::timeout(REPLY_DEADLINE, self.link.ping())
            .await
            .map_err(|_| convert::no_answer(REPLY_DEADLINE))?
    }

    async fn exec(&self, spec: &ExecSpec) -> Result<ExecSession, Failure> {
        let request = Request::Exec(convert::exec_start(spec));
        let end = spec.timeout.map(|timeout| timeout + spec.grace + spec.drain);
        let session = self.follow(&request, end).await;
        session.map_err(|mut failure| {
            // The only limit that a start can hit is the number of execs.
            if failure.reason == Reason::TooLarge {
                failure.reason = Reason::TooManyExecs;
            }
            failure
        })
    }

    async fn attach(&self, id: &ExecId, seen: Offsets) -> Result<ExecSession, Failure> {
        let request = Request::Attach {
            exec_id: id.to_string(),
            stdout_offset: seen.stdout,
            stderr_offset: seen.stderr,
        };
        self.follow(&request, None).await
    }

    async fn wait(&self, id: &ExecId) -> Result<ExecSession, Failure> {
        self.follow(&Request::Wait { exec_id: id.to_string() }, None).await
    }

    async fn watch(&self, id: &ExecId, from: Offsets) -> Result<WatchStream, Failure> {
        watch::watch(&self.link, id, from).await
    }

    async fn send_stdin(&self, id: &ExecId, body: ByteStream, close: bool) -> Result<u64, Failure> {
        let request = Request::Input { exec_id: id.to_string(), close };
        let Reply::Written { bytes } = self.send(&request, body).await? else {
            return Err(convert::protocol_broken("a count of bytes"));
        };
        Ok(bytes)
    }

    async fn signal(&self, id: &ExecId, signal: i32) -> Result<(), Failure> {
        let request = Request::Signal { exec_id: id.to_string(), signal };
        self.ask(&request, REPLY_DEADLINE).await.map(drop)
    }

    async fn resize(&self, id: &ExecId, size: TtySize) -> Result<(), Failure> {
        let size = convert::tty_size(size);
        let request = Request::Resize { exec_id: id.to_string(), size };
        self.ask(&request, REPLY_DEADLINE).await.map(drop)
    }

    async fn execs(&self) -> Result<Vec<ExecStatus>, Failure> {
        let Reply::Execs { execs } = self.ask(&Request::Execs, REPLY_DEADLINE).await? else {
            return Err(convert::protocol_broken("the execs"));
        };
        Ok(execs.into_iter().filter_map(convert::exec_status).collect())
    }

    async fn cancel(&self, id: &ExecId) -> Result<(), Failure> {
        self.ask(&Request::Cancel { exec_id: id.to_string() }, REPLY_DEADLINE).await.map(drop)
    }

    async fn release(&self, id: &ExecId) -> Result<(), Failure> {
        self.ask(&Request::Release { exec_id: id.to_string() }, REPLY_DEADLINE).await.map(drop)
    }

    async fn fs(&self, op: &FileOp) -> Result<FileReply, Failure> {
        let channel = self.link.request(&Request::Fs(convert::fs_op(op)))?;
        let reply = channel.reply(FS_DEADLINE).await?;
        match (op, reply) {
            (FileOp::Stat(_), Reply::Entry(entry)) => {
                Ok(FileReply::Info(convert::file_info(entry)))
            }
            (FileOp::List(_), Reply::Listing) => {
                let entries = lines(&listing(channel).await?)?;
                Ok(FileReply::Listing(entries.into_iter().map(convert::file_info).collect()))
            }
            (FileOp::Page { limit, .. }, Reply::Page { next }) => {
                let entries: Vec<_> = lines(&listing(channel).await?)?;
                if entries.len() > *limit as usize {
                    return Err(convert::protocol_broken("no more entries than were asked for"));
                }
                let files = entries.into_iter().map(convert::file_info).collect();
                Ok(FileReply::Page(FilePage { files, next: convert::next_name(next)? }))
            }
            (FileOp::Glob { .. }, Reply::Listing) => {
                Ok(FileReply::Paths(lines(&listing(channel).await?)?))
            }
            (FileOp::Grep(_), Reply::Listing) => {
                let found = lines(&listing(channel).await?)?;
                Ok(FileReply::Lines(convert::grep_result(found)))
            }
            (op, Reply::Done) if op.is_mutation() => Ok(FileReply::Done),
            (_, _) => Err(convert::protocol_broken("the answer to a file operation")),
        }
    }

    async fn read(
        &self,
        path: &SandboxPath,
        range: ByteRange,
    ) -> Result<(FileInfo, ByteStream), Failure> {
        let ByteRange { offset, length } = range;
        let request = Request::Read { path: path.to_string(), offset, length };
        let channel = self.link.request(&request)?;
        let Reply::File { entry } = channel.reply(REPLY_DEADLINE).await? else {
            return Err(convert::protocol_broken("a file"));
        };
        Ok((convert::file_info(entry), data(Arc::new(channel))))
    }

    async fn write(
        &self,
        path: &SandboxPath,
        options: WriteOptions,
        body: ByteStream,
    ) -> Result<Stored, Failure> {
        let request = Request::Write {
            path: path.to_string(),
            mode: options.mode.map(model::FileMode::bits),
            parents: options.parents,
            only: options.only.as_ref().map(convert::precondition),
        };
        let Reply::Stored { bytes, etag } = self.send(&request, body).await? else {
            return Err(convert::protocol_broken("a stored file"));
        };
        Ok(Stored { bytes, etag: etag.parse().ok() })
    }

    async fn pack(&self, path: &SandboxPath) -> Result<ByteStream, Failure> {
        let request = Request::Fs(FsOp::Pack { path: path.to_string() });
        let channel = self.link.request(&request)?;
        let Reply::Done = channel.reply(REPLY_DEADLINE).await? else {
            return Err(convert::protocol_broken("an archive"));
        };
        Ok(data(Arc::new(channel)))
    }

    async fn watch_files(
        &self,
        path: &SandboxPath,
        recursive: bool,
    ) -> Result<BoxStream<'static, Result<FileEvent, Failure>>, Failure> {
        let request = Request::Fs(FsOp::Watch { path: path.to_string(), recursive });
        let channel = self.link.request(&request)?;
        let Reply::Listing = channel.reply(REPLY_DEADLINE).await? else {
            return Err(convert::protocol_broken("a watch"));
        };
        Ok(notices::events(data(Arc::new(channel))))
    }

    async fn unpack(
        &self,
        path: &SandboxPath,
        limits: ArchiveLimits,
        body: ByteStream,
    ) -> Result<Unpacked, Failure> {
        let ArchiveLimits { entries, bytes } = limits;
        let request = Request::Fs(FsOp::Unpack { path: path.to_string(), entries, bytes });
        let Reply::Unpacked { entries, bytes } = self.send(&request, body).await? else {
            return Err(convert::protocol_broken("an unpacked archive"));
        };
        Ok(Unpacked { entries, bytes })
    }

    async fn dial(&self, port: u16) -> Result<Box<dyn Duplex>, Failure> {
        let channel = self.link.request(&Request::Dial { port })?;
        let Reply::Dialed = channel.reply(REPLY_DEADLINE).await? else {
            return Err(convert::protocol_broken("a dialed port"));
        };
        let channel = Arc::new(channel);
        Ok(Box::new(port::Port::new(data(Arc::clone(&channel)), channel)))
    }

    async fn console(&self, lines: u32) -> Result<Vec<String>, Failure> {
        let reply = self.ask(&Request::Console { lines }, REPLY_DEADLINE).await?;
        let Reply::Console { lines } = reply else {
            return Err(convert::protocol_broken("console lines"));
        };
        Ok(lines)
    }
}
