//! How a child ended, and how a keeper tells the agent of it. Pure but for reading a keeper's
//! socket; the system calls that learn of an end are in `sys`. The supervisor and the pumps read
//! it.

use std::os::fd::BorrowedFd;

/// An ended child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    pub status: Ended,
    /// Of the child and the children that it waited for, in microseconds.
    pub cpu_us: u64,
    pub memory_peak_bytes: u64,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signaled(i32),
}

impl Reaped {
    /// Bytes of an encoded value: status, processor time, memory.
    const LENGTH: usize = 20;

    pub fn new(status: i32, usage: &libc::rusage) -> Self {
        let micros = |time: libc::timeval| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            seconds.saturating_mul(1_000_000) + u64::try_from(time.tv_usec).unwrap_or(0)
        };
        Self {
            status: Ended::from_wait(status),
            cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            memory_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        }
    }

    /// As a keeper sends it.
    pub fn encode(self, status: i32) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&status.to_ne_bytes());
        bytes[4..12].copy_from_slice(&self.cpu_us.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.memory_peak_bytes.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        let [s0, s1, s2, s3, c0, c1, c2, c3, c4, c5, c6, c7, m0, m1, m2, m3, m4, m5, m6, m7] =
            bytes;
        Self {
            status: Ended::from_wait(i32::from_ne_bytes([s0, s1, s2, s3])),
            cpu_us: u64::from_ne_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            memory_peak_bytes: u64::from_ne_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        }
    }
}

impl Ended {
    fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signaled(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// What a keeper says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The id of the child. It stays the child's own until the end is acknowledged.
    Main(i32),
    /// The child has ended.
    Ended(Reaped),
}

/// How an end is written for `wait4`, from how `waitid` says it.
pub fn wait_status(code: i32, status: i32) -> i32 {
    if code == libc::CLD_EXITED { (status & 0xff) << 8 } else { status & 0x7f }
}

/// What a keeper has to say next, if anything.
pub fn read_word(socket: BorrowedFd<'_>) -> Option<Word> {
    let mut bytes = [0; Reaped::LENGTH];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut bytes)).ok()?;
    match (count, bytes) {
        (Reaped::LENGTH, bytes) => Some(Word::Ended(Reaped::decode(bytes))),
        (4, [p0, p1, p2, p3, ..]) => Some(Word::Main(i32::from_ne_bytes([p0, p1, p2, p3]))),
        (_, _) => None,
    }
}
