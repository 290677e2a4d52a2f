//! Gives up what a sandbox's first process may not have.
//!
//! Resource limits and the umask come from the helper, which set its own to the same. Called by
//! `inside` when the file tree is complete.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::failure::{Failure, InStep};

/// What root of a sandbox keeps: ownership and identity of files and processes in its own user
/// namespace, and low ports in its own network namespace. Nothing that reaches past them.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Reduces every capability set to what is kept, for good.
pub fn capabilities() -> Result<(), Failure> {
    const STEP: &str = "give up capabilities";
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).step(STEP),
        }
    }
    rustix::thread::clear_ambient_capability_set().step(STEP)?;
    let sets =
        CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step(STEP)?;
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")
}
