//! Terminals: one for each exec that asked for it, from the sandbox's own devpts. Not what is
//! carried over them (that is the pump). `begin` opens one, `control` asks it things.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use proto::TtySize;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{
    InputModes, OptionalActions, Winsize, tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize,
};

use crate::files::{GuestPath, Root};

/// Where a new terminal is asked for.
const PTMX: &str = "/dev/ptmx";

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The agent's end; closing it hangs the terminal up.
    pub master: Arc<OwnedFd>,
    /// The job's end.
    pub slave: Arc<OwnedFd>,
}

/// Opens a terminal of that size that belongs to `owner`, or to the agent's own user.
pub fn open(root: Root<'_>, size: TtySize, owner: Option<u32>) -> Result<Terminal, Errno> {
    let ptmx = GuestPath::parse(PTMX).map_err(|_| Errno::NOENT)?;
    // Root of a sandbox may have put anything in its place: none of that blocks, and none but a
    // terminal takes what follows.
    let master = root.open(&ptmx, OFlags::RDWR | OFlags::NONBLOCK)?;
    unlockpt(&master)?;
    // The agent may be a session leader without a terminal, and must not get this one.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    if let Some(uid) = owner {
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    }
    let mut modes = tcgetattr(&slave)?;
    // Erasing a character takes all of its bytes.
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    resize(&master, size)?;
    Ok(Terminal { master: Arc::new(master), slave: Arc::new(slave) })
}

/// Sets the size; the kernel tells the programs in the foreground.
pub fn resize(master: impl AsFd, size: TtySize) -> Result<(), Errno> {
    let TtySize { cols, rows } = size;
    tcsetwinsize(master, Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })
}

/// The process group in the foreground of the session that `leader` leads, if there is one.
pub fn foreground(master: impl AsFd, leader: i32) -> Option<i32> {
    let group = tcgetpgrp(master).ok()?;
    // A group that has ended leaves its number behind, which may be a process of another session
    // by now. A group whose first process alone has ended keeps its number.
    match rustix::process::getsid(Some(group)) {
        Ok(session) if session.as_raw_nonzero().get() != leader => None,
        Ok(_) | Err(_) => Some(group.as_raw_nonzero().get()),
    }
}
