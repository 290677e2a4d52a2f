//! The directory of one sandbox on the host, and the record in it.
//!
//! `sandboxes/<key>/{meta.json,upper,work,agent.sock}` beneath the state directory, all of it
//! reachable by root only. The record is written before anything else has an effect, so that
//! whatever a crash leaves can be attributed. Called by `create`, `destroy` and `inventory`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, InStep};
use crate::wire::Target;
use crate::{files, key, remove};

/// Where sandboxes live beneath the state directory.
pub const SANDBOXES: &str = "sandboxes";

/// The agent's socket in a sandbox's directory.
pub const SOCKET: &str = "agent.sock";

/// The writable layer, and the directory that overlayfs prepares its changes in.
pub const UPPER: &str = "upper";
/// See [`UPPER`].
pub const WORK: &str = "work";

const META: &str = "meta.json";

/// Connections that may wait for the agent; it accepts at once, so this is for bursts.
const BACKLOG: i32 = 64;

/// What is written down about a sandbox before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The control plane's name.
    pub instance: String,
    /// The sandbox.
    pub sandbox: String,
    /// Which life of it.
    pub incarnation: u32,
    /// The first host id of its range.
    pub uid_base: u32,
}

/// Where a sandbox's directory is, as a path.
pub fn path_of(state_dir: &Path, target: &Target) -> PathBuf {
    state_dir.join(SANDBOXES).join(key::key_of(target))
}

/// Writes the record.
pub fn write_meta(dir: &OwnedFd, meta: &Meta) -> Result<(), Failure> {
    const STEP: &str = "write the sandbox's record";
    let content = serde_json::to_vec(meta).map_err(|_| Errno::INVAL).step(STEP)?;
    files::create(dir, META, &content).step(STEP)
}

/// Reads the record; none if it is absent or was cut off.
pub fn read_meta(dir: &OwnedFd) -> Option<Meta> {
    serde_json::from_str(&files::read(dir, META).ok()?).ok()
}

/// Makes the directories of the writable layer, owned by the sandbox's root.
pub fn make_layers(dir: &OwnedFd, uid_base: u32) -> Result<(), Failure> {
    const STEP: &str = "make the writable layer";
    let owner = (Some(Uid::from_raw(uid_base)), Some(Gid::from_raw(uid_base)));
    for name in [UPPER, WORK] {
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).step(STEP)?;
        rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).step(STEP)?;
    }
    Ok(())
}

/// Binds the agent's listening socket; only root may connect.
pub fn listen(dir: &OwnedFd) -> Result<OwnedFd, Failure> {
    const STEP: &str = "bind the agent's socket";
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .step(STEP)?;
    // The address of a socket is at most 107 bytes, which a state directory may exceed.
    let address = format!("{}/{SOCKET}", by_descriptor(dir));
    let address = SocketAddrUnix::new(address).step(STEP)?;
    let usual = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(usual);
    bound.step(STEP)?;
    rustix::net::listen(&socket, BACKLOG).step(STEP)?;
    Ok(socket)
}

/// A path that names an open descriptor of this process.
pub fn by_descriptor(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Removes everything in the directory, the record last, then the directory itself.
pub fn remove(sandboxes: &OwnedFd, key: &str) -> Result<(), Failure> {
    const STEP: &str = "remove the sandbox's directory";
    let dir = match files::open_dir(sandboxes, key) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.step(STEP)?,
    };
    for name in [c"upper", c"work", c"agent.sock"] {
        remove::remove_tree(&dir, name).step(STEP)?;
    }
    let gone = |dir: &OwnedFd| {
        files::absent_is_fine(rustix::fs::unlinkat(dir, META, AtFlags::empty()))?;
        files::absent_is_fine(rustix::fs::unlinkat(sandboxes, key, AtFlags::REMOVEDIR))
    };
    match gone(&dir) {
        // Something else is in it: what an interrupted removal moved up.
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other.step(STEP),
    }
    for name in files::names(&dir).step(STEP)? {
        let name = std::ffi::CString::new(name).map_err(|_| Errno::INVAL).step(STEP)?;
        remove::remove_tree(&dir, &name).step(STEP)?;
    }
    gone(&dir).step(STEP)
}
