//! What a configured helper holds open: its state directory, cgroups, id claims and the agent.
//!
//! Opening it takes the state directory's lock, makes what is shared with other instances and puts
//! the id claims of sandboxes found there in order. Called by `helper`; lent to `create`, `destroy`
//! and `inventory`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::cgroup::{Groups, Layout};
use crate::claims::{CLAIMS_DIR, Claim, Claims};
use crate::failure::{Failure, InStep};
use crate::place::{Meta, SANDBOXES};
use crate::wire::{Configure, Target};
use crate::{files, key, place, rootfs};

/// How often, and after which pause, the state directory's lock is tried again: a helper that was
/// killed may have left a worker that ends a moment later.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A configured helper's view of the host.
#[derive(Debug)]
pub struct Host {
    /// The control plane's name.
    pub instance: String,
    /// Where its sandboxes live.
    pub state_dir: PathBuf,
    /// The same, open.
    pub state: OwnedFd,
    /// Whether sandboxes end with the control plane.
    pub ephemeral: bool,
    /// The directory of sandboxes, open.
    pub sandboxes: OwnedFd,
    /// The cgroups.
    pub groups: Groups,
    /// The id claims of all instances.
    pub claims: Claims,
    /// The agent's executable.
    pub agent: OwnedFd,
    _lock: OwnedFd,
}

impl Host {
    /// Opens the host for an instance.
    pub fn open(configure: Configure, agent: OwnedFd) -> Result<Self, Failure> {
        let Configure { generation: _, instance, state_dir, ephemeral } = configure;
        let state = rootfs::open_state(&state_dir).step("open the state directory")?;
        let lock = lock(&state)?;
        let made = rustix::fs::mkdirat(&state, SANDBOXES, Mode::RWXU);
        files::present_is_fine(made).step("make the directory of sandboxes")?;
        let sandboxes =
            files::open_dir(&state, SANDBOXES).step("open the directory of sandboxes")?;
        let layout = Layout::of_host().step("read the cgroup hierarchies")?;
        let groups = Groups::open(layout, &instance)?;
        let claims = Claims::open(CLAIMS_DIR.as_ref())?;
        let mut host = Self {
            instance,
            state_dir,
            state,
            ephemeral,
            sandboxes,
            groups,
            claims,
            agent,
            _lock: lock,
        };
        host.settle_claims()?;
        Ok(host)
    }

    /// The claim of one of this instance's sandboxes.
    pub fn claim_of(&self, target: &Target) -> Claim {
        Claim {
            instance: self.instance.clone(),
            key: key::key_of(target),
            place: place::path_of(&self.state_dir, target),
        }
    }

    /// The record of a sandbox, if there is one.
    pub fn meta_of(&self, target: &Target) -> Option<Meta> {
        place::read_meta(&files::open_dir(&self.sandboxes, &key::key_of(target)).ok()?)
    }

    /// Renews the claims of sandboxes found here (the claims do not survive what wipes /run) and
    /// sweeps those that nobody holds.
    fn settle_claims(&mut self) -> Result<(), Failure> {
        let names = files::names(&self.sandboxes).step("list the sandboxes")?;
        let found: Vec<(Meta, Claim)> = names
            .iter()
            .filter_map(|name| key::target_of(name))
            .filter_map(|target| Some((self.meta_of(&target)?, self.claim_of(&target))))
            .collect();
        let mut locked = self.claims.lock()?;
        for (meta, claim) in found {
            // Where another has the range by now, this sandbox is what a restart of the host left:
            // no process of it can be alive.
            locked.reclaim(meta.uid_base, &claim)?;
        }
        locked.sweep()
    }
}

fn lock(state: &OwnedFd) -> Result<OwnedFd, Failure> {
    const STEP: &str = "lock the state directory, which another helper holds";
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(state, "jail.lock", flags, Mode::RUSR | Mode::WUSR)
        .step("open the state directory's lock")?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) => sleep(LOCK_PAUSE),
            Err(errno) => return Err(errno).step(STEP),
        }
    }
    Err(Errno::BUSY).step(STEP)
}
