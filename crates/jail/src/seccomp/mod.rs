//! The system call filter of every sandbox, as a binary search over call numbers.
//!
//! What is decided is in `table`; here it becomes a program for the kernel's filter machine. Runs
//! of numbers with the same verdict become one leaf, so a call costs about eight comparisons where
//! a linear list needs hundreds. Built once by the helper and installed by each sandbox just before
//! it executes the agent. `verdict` is the plain meaning, which tests hold the program against.

mod table;

use std::sync::OnceLock;

use libc::sock_filter;

pub use table::{Verdict, verdict};

/// The one architecture whose call numbers the table knows (`AUDIT_ARCH_X86_64`).
const ARCHITECTURE: u32 = 0xC000_003E;

/// The first number of the x32 interface, which is the same architecture to the filter.
const X32_FIRST: u32 = 0x4000_0000;

/// The first number past everything the table knows; beyond it every verdict is the same.
pub const NUMBERS_END: u32 = 512;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Where `struct seccomp_data` holds the number, the architecture and the arguments' low halves.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const fn argument_at(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A filter program.
#[derive(Clone)]
pub struct Filter {
    program: Vec<sock_filter>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Filter({} instructions)", self.program.len())
    }
}

impl Filter {
    /// The filter of every sandbox, built at first use.
    pub fn sandbox() -> &'static Self {
        static FILTER: OnceLock<Filter> = OnceLock::new();
        FILTER.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut segments = vec![(0, verdict(0))];
        for number in (1..=NUMBERS_END).chain([X32_FIRST]) {
            let now = verdict(number);
            if segments.last().is_none_or(|(_, last)| *last != now) {
                segments.push((number, now));
            }
        }
        let mut program = vec![
            step(LOAD, ARCHITECTURE_AT),
            branch(IF_EQUAL, ARCHITECTURE, 1, 0),
            step(RETURN, KILL),
            step(LOAD, NUMBER_AT),
        ];
        program.extend(search(&segments));
        Self { program }
    }

    /// The instructions, for the kernel and for tests.
    pub fn program(&self) -> &[sock_filter] {
        &self.program
    }
}

const fn step(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.cast_unsigned()
}

/// Finds the segment of the number in the accumulator: lower half first, upper half after it.
fn search(segments: &[(u32, Verdict)]) -> Vec<sock_filter> {
    if let [(_, verdict)] = segments {
        return leaf(*verdict);
    }
    let (lower, upper) = segments.split_at(segments.len() / 2);
    let boundary = upper.first().map_or(u32::MAX, |(first, _)| *first);
    let lower = search(lower);
    let mut program = match u8::try_from(lower.len()) {
        Ok(skip) => vec![branch(IF_AT_LEAST, boundary, skip, 0)],
        Err(_) => vec![
            branch(IF_AT_LEAST, boundary, 0, 1),
            step(JUMP, u32::try_from(lower.len()).expect("a filter has at most 4096 steps")),
        ],
    };
    program.extend(lower);
    program.extend(search(upper));
    program
}

fn leaf(verdict: Verdict) -> Vec<sock_filter> {
    let eperm = step(RETURN, errno(libc::EPERM));
    let allow = step(RETURN, ALLOW);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Refuse => vec![eperm],
        Verdict::Unknown => vec![step(RETURN, errno(libc::ENOSYS))],
        Verdict::CloneWithoutNamespaces => vec![
            step(LOAD, argument_at(0)),
            step(AND, table::NAMESPACE_FLAGS),
            branch(IF_EQUAL, 0, 0, 1),
            allow,
            eperm,
        ],
        Verdict::PlainPersonality => one_of(argument_at(0), &table::PERSONALITIES, allow, eperm),
        Verdict::SafeIoctl => one_of(argument_at(1), &table::IOCTLS_REFUSED, eperm, allow),
        Verdict::SocketPair => one_of(
            argument_at(0),
            &[table::AF_UNIX],
            allow,
            step(RETURN, errno(libc::EAFNOSUPPORT)),
        ),
        Verdict::Socket => vec![
            step(LOAD, argument_at(0)),
            branch(IF_EQUAL, table::AF_UNIX, 5, 0),
            branch(IF_EQUAL, table::AF_INET, 4, 0),
            branch(IF_EQUAL, table::AF_INET6, 3, 0),
            branch(IF_EQUAL, table::AF_NETLINK, 0, 3),
            step(LOAD, argument_at(2)),
            branch(IF_EQUAL, table::NETLINK_ROUTE, 0, 1),
            allow,
            step(RETURN, errno(libc::EAFNOSUPPORT)),
        ],
    }
}

/// `hit` if the low half of an argument is one of the values, else `miss`.
fn one_of(at: u32, values: &[u32], hit: sock_filter, miss: sock_filter) -> Vec<sock_filter> {
    let mut program = vec![step(LOAD, at)];
    for (index, value) in values.iter().enumerate() {
        let rest = u8::try_from(values.len() - index).expect("the lists are short");
        program.push(branch(IF_EQUAL, *value, rest, 0));
    }
    program.push(miss);
    program.push(hit);
    program
}

#[cfg(test)]
mod tests;
