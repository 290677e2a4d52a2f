//! Ends a sandbox and removes all of it: the one path for a request, a failed create and a crash.
//!
//! Every step takes what it finds and is fine with nothing, so it can be broken off anywhere and
//! begun again. The order matters: the record and the directory go last, because they are how the
//! rest is found. Called by `create` and `helper`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::failure::{Failure, InStep};
use crate::host::Host;
use crate::wire::Target;
use crate::{key, place};

/// How long killed processes may take to be gone; only one stuck in the kernel takes longer.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two attempts to remove the cgroups: the first is about what the kernel needs
/// to tear a sandbox down, the last bounds the work of waiting.
const PAUSE_FIRST: Duration = Duration::from_micros(100);
const PAUSE_LAST: Duration = Duration::from_millis(20);

/// Sends the kill; what follows can take its time.
pub fn kill(host: &Host, target: &Target) -> Result<(), Failure> {
    host.groups.kill(&key::key_of(target))
}

/// Kills, waits, and removes everything. Fine with a sandbox that does not exist.
pub fn destroy(host: &Host, target: &Target) -> Result<(), Failure> {
    let key = key::key_of(target);
    host.groups.kill(&key)?;
    remove_groups(host, &key)?;
    // The range is free from here on: nothing runs under it, and what it owns on disk is out of
    // everybody's reach.
    let base = host.meta_of(target).map(|meta| meta.uid_base);
    host.claims.release(base, &host.claim_of(target))?;
    place::remove(&host.sandboxes, &key)
}

/// Removes the cgroups as soon as the last process is out of them.
fn remove_groups(host: &Host, key: &str) -> Result<(), Failure> {
    const STEP: &str = "remove the cgroups";
    let emptied = host.groups.emptied(key);
    let deadline = Instant::now() + GONE_WITHIN;
    let mut pause = PAUSE_FIRST;
    while host.groups.alive(key)? {
        if Instant::now() > deadline {
            return Err(Errno::BUSY).step("wait for the killed processes");
        }
        wait(emptied.as_ref(), pause).step(STEP)?;
        pause = (pause * 2).min(PAUSE_LAST);
        host.groups.kill(key)?;
    }
    loop {
        match host.groups.remove(key) {
            // The kernel still counts the last process for a moment after it is gone.
            Err(Errno::BUSY) if Instant::now() < deadline => {
                wait(None, PAUSE_FIRST).step(STEP)?;
            }
            other => return other.step(STEP),
        }
    }
}

/// Waits for the pause, or less if the descriptor becomes urgent.
fn wait(urgent: Option<&OwnedFd>, pause: Duration) -> Result<(), Errno> {
    let timeout = Timespec {
        tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(pause.subsec_nanos()),
    };
    let mut polled: Vec<PollFd<'_>> =
        urgent.into_iter().map(|fd| PollFd::new(fd, PollFlags::PRI)).collect();
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
