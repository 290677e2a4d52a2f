//! Which range of user ids belongs to which sandbox, agreed between all instances of a host.
//!
//! Each sandbox has 65,536 ids of its own, so that no two can touch each other's files or processes
//! even where a path leads there. A range is claimed by a file that only one can make; a claim
//! whose sandbox directory is gone is stale and swept. All of it happens under one lock, so a claim
//! is never seen without its directory. Called by `create`, `destroy` and `host`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, InStep};
use crate::files;

/// Ids per sandbox: what images and `nobody` expect.
pub const RANGE: u32 = 65_536;

/// The first id given away: just past what container managers of the system use by convention.
pub const FIRST: u32 = 1_879_048_192;

/// How many ranges there are: up to where ids no longer fit a signed number, which some programs
/// cannot handle.
const SLOTS: u32 = 4096;

/// Where claims are kept: gone with a restart of the host, as are the processes they protect.
pub const CLAIMS_DIR: &str = "/run/stacyvm";

/// To whom a range belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The control plane's name.
    pub instance: String,
    /// The sandbox and its incarnation, as one name.
    pub key: String,
    /// The directory whose existence keeps the claim alive.
    pub place: PathBuf,
}

/// The claims of the host.
#[derive(Debug)]
pub struct Claims {
    slots: OwnedFd,
    lock: OwnedFd,
    next: u32,
}

/// The lock on all claims, released when dropped.
#[derive(Debug)]
pub struct Locked<'a>(&'a mut Claims);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Unlocking a lock that is held cannot fail, and closing would release it anyway.
        let _ = rustix::fs::flock(&self.0.lock, FlockOperation::Unlock);
    }
}

impl Claims {
    /// Opens the claims kept in a directory (made where needed), which must be its owner's alone.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let slots = dir.join("uids");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&slots)
            .step("make the directory of id claims")?;
        private(dir).step("trust the directory of id claims")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let slots = rustix::fs::open(slots, flags, Mode::empty()).step("open the id claims")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(dir.join("lock"), flags, Mode::RUSR | Mode::WUSR)
            .step("open the lock of the id claims")?;
        let mut seed = [0; 4];
        rustix::rand::getrandom(&mut seed, GetRandomFlags::empty()).step("draw a random number")?;
        // Instances that start at different slots do not run into each other's.
        Ok(Self { slots, lock, next: u32::from_ne_bytes(seed) % SLOTS })
    }

    /// Takes the lock; others wait, so hold it briefly.
    pub fn lock(&mut self) -> Result<Locked<'_>, Failure> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.lock, FlockOperation::LockExclusive))
            .step("lock the id claims")?;
        Ok(Locked(self))
    }

    /// Gives a range back if it is this claim's; without a `base` it is looked for.
    ///
    /// Needs no lock as long as the claim's place exists, because then nobody else removes it.
    pub fn release(&self, base: Option<u32>, claim: &Claim) -> Result<(), Failure> {
        const STEP: &str = "give a range of ids back";
        let slots = match base {
            Some(base) => slot_of(base).into_iter().collect(),
            None => files::names(&self.slots).step(STEP)?,
        };
        for slot in slots.iter().filter(|slot| self.read(slot).as_ref() == Some(claim)) {
            let gone = rustix::fs::unlinkat(&self.slots, slot, AtFlags::empty());
            files::absent_is_fine(gone).step(STEP)?;
        }
        Ok(())
    }

    fn read(&self, slot: &str) -> Option<Claim> {
        serde_json::from_str(&files::read(&self.slots, slot).ok()?).ok()
    }
}

impl Locked<'_> {
    /// Claims a free range and returns its first id. The claim's place must already exist.
    pub fn claim(&mut self, claim: &Claim) -> Result<u32, Failure> {
        const STEP: &str = "claim a range of ids";
        let content = serde_json::to_vec(claim).map_err(|_| Errno::INVAL).step(STEP)?;
        for attempt in 0..2 {
            for _ in 0..SLOTS {
                let slot = self.0.next;
                self.0.next = (slot + 1) % SLOTS;
                match files::create(&self.0.slots, &slot.to_string(), &content) {
                    Ok(()) => return Ok(FIRST + slot * RANGE),
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).step(STEP),
                }
            }
            if attempt == 0 {
                self.sweep()?;
            }
        }
        Err(Errno::USERS).step(STEP)
    }

    /// Claims one certain range again, for a sandbox that is found with it. True if it has it now.
    pub fn reclaim(&mut self, base: u32, claim: &Claim) -> Result<bool, Failure> {
        const STEP: &str = "claim a range of ids again";
        let Some(slot) = slot_of(base) else { return Ok(false) };
        let content = serde_json::to_vec(claim).map_err(|_| Errno::INVAL).step(STEP)?;
        match files::create(&self.0.slots, &slot, &content) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(self.read(&slot).as_ref() == Some(claim)),
            Err(errno) => Err(errno).step(STEP),
        }
    }

    /// Removes every claim whose sandbox directory is gone.
    pub fn sweep(&mut self) -> Result<(), Failure> {
        const STEP: &str = "sweep the id claims";
        for slot in files::names(&self.0.slots).step(STEP)? {
            // One that cannot be read was being written by a process that died with the lock.
            let stale = match self.read(&slot) {
                Some(claim) => matches!(rustix::fs::lstat(&claim.place), Err(Errno::NOENT)),
                None => true,
            };
            if stale {
                let gone = rustix::fs::unlinkat(&self.0.slots, &slot, AtFlags::empty());
                files::absent_is_fine(gone).step(STEP)?;
            }
        }
        Ok(())
    }

    fn read(&self, slot: &str) -> Option<Claim> {
        self.0.read(slot)
    }
}

fn slot_of(base: u32) -> Option<String> {
    let offset = base.checked_sub(FIRST)?;
    let slot = offset / RANGE;
    (offset.is_multiple_of(RANGE) && slot < SLOTS).then(|| slot.to_string())
}

fn private(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::from(Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(place: &Path) -> Claim {
        Claim { instance: "i".into(), key: "s.1".into(), place: place.to_owned() }
    }

    #[test]
    fn two_claims_never_share_a_range() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) =
            (Claims::open(dir.path()).unwrap(), Claims::open(dir.path()).unwrap());
        let mut bases: Vec<u32> = Vec::new();
        for _ in 0..64 {
            bases.push(one.lock().unwrap().claim(&claim(dir.path())).unwrap());
            bases.push(two.lock().unwrap().claim(&claim(dir.path())).unwrap());
        }
        bases.sort_unstable();
        assert!(bases.windows(2).all(|pair| pair[1] - pair[0] >= RANGE));
        assert!(
            bases.iter().all(|base| *base >= FIRST && i32::try_from(base + (RANGE - 1)).is_ok())
        );
    }

    #[test]
    fn only_claims_without_a_directory_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mut claims = Claims::open(dir.path()).unwrap();
        let mut locked = claims.lock().unwrap();
        let (alive, dead) = (claim(dir.path()), claim(&dir.path().join("gone")));
        let kept = locked.claim(&alive).unwrap();
        let swept = locked.claim(&dead).unwrap();
        files::create(&locked.0.slots, "half", b"{").unwrap();
        locked.sweep().unwrap();
        assert_eq!(files::names(&locked.0.slots).unwrap(), [slot_of(kept).unwrap()]);
        assert!(locked.reclaim(swept, &dead).unwrap());
        assert!(!locked.reclaim(kept, &dead).unwrap());
    }

    #[test]
    fn a_range_is_given_back_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut claims = Claims::open(dir.path()).unwrap();
        let base = claims.lock().unwrap().claim(&claim(dir.path())).unwrap();
        claims.release(Some(base), &claim(Path::new("/other"))).unwrap();
        assert_eq!(files::names(&claims.slots).unwrap().len(), 1);
        claims.release(Some(base), &claim(dir.path())).unwrap();
        assert_eq!(files::names(&claims.slots).unwrap().len(), 0);
        claims.lock().unwrap().claim(&claim(dir.path())).unwrap();
        claims.release(None, &claim(dir.path())).unwrap();
        assert_eq!(files::names(&claims.slots).unwrap().len(), 0);
    }
}
