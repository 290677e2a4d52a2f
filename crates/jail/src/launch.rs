//! Starts the helper: the one thing the control plane needs besides the wire types.
//!
//! The helper is started with nothing but three descriptors (see `wire`), an empty environment and
//! `/` as its directory, so that nothing of the control plane reaches it, or a sandbox, by
//! inheritance. Called by the native driver and by this crate's tests.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A started helper.
#[derive(Debug)]
pub struct Launched {
    /// The process. It ends by itself when `socket` closes; wait for it then.
    pub child: Child,
    /// The control plane's end, `SOCK_SEQPACKET` and close-on-exec, in blocking mode.
    pub socket: OwnedFd,
}

/// Puts an executable into an anonymous file that can no longer be changed.
///
/// `name` shows in `/proc/PID/maps` only.
pub fn sealed(name: &str, executable: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Hosts may make memory files non-executable by default; kernels before 6.3 know no `EXEC`.
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut rest = executable;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Starts the helper from its own sealed file and hands it the agent's.
///
/// Its standard error is the caller's. The first message must be `Configure`.
pub fn launch(helper: impl AsFd, agent: impl AsFd) -> io::Result<Launched> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let program = format!("/proc/self/fd/{}", helper.as_fd().as_raw_fd());
    let child = Command::new(program)
        .arg0("stacyvm-jail")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(agent.as_fd().try_clone_to_owned()?))
        .stderr(Stdio::inherit())
        .spawn()?;
    Ok(Launched { child, socket: ours })
}
