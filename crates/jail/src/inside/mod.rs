//! What the first process of a sandbox does between the clone and the agent.
//!
//! It runs in its new namespaces, in a copy of the helper's memory, with the helper's few
//! descriptors. In order: enter the cgroups, take the mapped ids, build the file tree, leave the
//! host's, give up capabilities, install the filter, execute the agent. Any failure is reported by
//! step and ends the process. Nothing here touches what the host keeps; that is `create`.

mod confine;
mod tree;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::failure::{Failure, InStep};
use crate::{packet, sys};

/// Where the agent finds its listening socket.
const AGENT_SOCKET: i32 = 3;
/// Where the agent finds the cgroup directory that it may divide.
const AGENT_CGROUP: i32 = 4;
/// Where the agent finds the count of kills for want of memory.
const AGENT_OOM: i32 = 5;
/// The first number not given to the agent.
const FIRST_FREE: i32 = 6;

/// The helper's word that the ids are mapped.
pub const MAPPED: &[u8] = b"mapped";
/// The helper's word with the root file system.
pub const ROOT: &[u8] = b"root";

/// The longest report of a failed step.
pub const REPORT_BYTES_MAX: usize = 256;

/// Everything the first process needs, made before the clone.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The host name inside.
    pub hostname: &'a str,
    /// The sandbox's directory on the host: where the new root is first mounted.
    pub place: CString,
    /// Detached mounts and where they go.
    pub binds: Vec<(OwnedFd, PathBuf)>,
    /// The version 1 cgroups to enter.
    pub tasks: Vec<OwnedFd>,
    /// The three descriptors that the agent gets.
    pub listener: OwnedFd,
    /// See [`AGENT_CGROUP`].
    pub delegated: OwnedFd,
    /// See [`AGENT_OOM`].
    pub oom: OwnedFd,
    /// The agent's executable.
    pub agent: BorrowedFd<'a>,
    /// Its arguments.
    pub arguments: Vec<CString>,
    /// The system call filter.
    pub filter: &'a [libc::sock_filter],
}

/// Becomes the agent, or reports over `helper` why not and ends the process.
pub fn run(plan: &Plan<'_>, helper: &OwnedFd) -> ! {
    // Past the agent's descriptors, so that it can report to the very end: a successful exec closes
    // it.
    let Ok(helper) = rustix::io::fcntl_dupfd_cloexec(helper, FIRST_FREE) else { sys::exit_now(1) };
    let failure = match become_agent(plan, helper.as_fd()) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    let mut report = format!("{} {}", failure.errno.raw_os_error(), failure.step).into_bytes();
    report.truncate(REPORT_BYTES_MAX);
    // If the helper is gone there is nobody to tell, and whoever comes next cleans up.
    let _ = packet::send(&helper, &report, None);
    sys::exit_now(1)
}

/// Reads a report written by [`run`].
pub fn read_report(report: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(report);
    let (errno, step) = text.split_once(' ').unwrap_or(("", "read the failure report"));
    let errno = errno.parse().map_or(Errno::IO, Errno::from_raw_os_error);
    Failure { step: step.to_owned().into(), errno }
}

fn become_agent(
    plan: &Plan<'_>,
    helper: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, Failure> {
    for tasks in &plan.tasks {
        rustix::io::write(tasks, b"0").step("enter the cgroup")?;
    }
    sys::reset_signals();
    let place = detach_from_host(plan)?;
    expect(helper, MAPPED)?;
    take_ids()?;
    let system = tree::prepare()?;
    let root = expect(helper, ROOT)?.ok_or(Errno::BADMSG).step("receive the root")?;
    tree::build(&root, &place, &system, &plan.binds)?;
    tree::leave_host()?;
    confine::capabilities()?;
    let agent = above(plan.agent)?;
    hand_over(plan)?;
    sys::install_filter(plan.filter).step("install the system call filter")?;
    Err(sys::execute(&agent, &plan.arguments)).step("execute the agent")
}

/// Steps that need no mapped ids, so that the helper can map them meanwhile.
fn detach_from_host(plan: &Plan<'_>) -> Result<OwnedFd, Failure> {
    rustix::process::setsid().step("start a session")?;
    // What the helper says to people goes to a file or terminal of the host.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.step("open /dev/null")?;
    for number in 0..=2 {
        sys::place(&null, number).step("close the helper's output")?;
    }
    // Without keyrings in the kernel there is none to leave.
    let _ = sys::join_new_keyring();
    sys::leave_cgroup_namespace().step("make the cgroup namespace")?;
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", propagation).step("make the mounts private")?;
    rustix::system::sethostname(plan.hostname.as_bytes()).step("set the host name")?;
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .step("open a socket for the loopback interface")?;
    sys::loopback_up(socket).step("bring the loopback interface up")?;
    // Opened while still the host's root: the mapped ids may not enter the state directory.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&plan.place, flags, Mode::empty()).step("open the sandbox's directory")
}

/// Waits for the helper's next word, with the descriptor that comes with it.
fn expect(helper: BorrowedFd<'_>, word: &[u8]) -> Result<Option<OwnedFd>, Failure> {
    const STEP: &str = "hear from the helper";
    let mut buffer = [0; 16];
    let (length, descriptor) = packet::receive(helper, &mut buffer).step(STEP)?;
    if buffer.get(..length) == Some(word) { Ok(descriptor) } else { Err(Errno::PIPE).step(STEP) }
}

fn take_ids() -> Result<(), Failure> {
    const STEP: &str = "take the mapped ids";
    let (root, wheel) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_groups(&[]).step(STEP)?;
    rustix::thread::set_thread_res_gid(wheel, wheel, wheel).step(STEP)?;
    rustix::thread::set_thread_res_uid(root, root, root).step(STEP)
}

/// A copy of a descriptor past those given to the agent, closed on exec.
fn above(fd: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST_FREE).step("move a descriptor")
}

/// Puts the agent's descriptors where it expects them and closes the rest on exec.
fn hand_over(plan: &Plan<'_>) -> Result<(), Failure> {
    const STEP: &str = "hand the agent its descriptors";
    // First past all targets, or one placed early could overwrite another's source.
    let sources =
        [above(plan.listener.as_fd())?, above(plan.delegated.as_fd())?, above(plan.oom.as_fd())?];
    for (source, number) in sources.iter().zip([AGENT_SOCKET, AGENT_CGROUP, AGENT_OOM]) {
        sys::place(source, number).step(STEP)?;
    }
    sys::close_on_exec_from(FIRST_FREE.unsigned_abs()).step(STEP)
}

/// Whether this process, in new namespaces, may have a /proc of its own.
pub fn can_mount_proc() -> bool {
    tree::can_mount_proc()
}
