//! What an instance has on the host, found by looking.
//!
//! Directories and cgroups are both searched, because a crash may leave either without the other.
//! Takes nothing from memory, so it is right after any restart. Called by `helper` and `create`.

use std::collections::BTreeSet;

use rustix::fs::AtFlags;

use crate::failure::{Failure, InStep};
use crate::host::Host;
use crate::place::SOCKET;
use crate::wire::{Entry, LIST_PAGE_MAX, ListFrom, Listed, Target};
use crate::{files, key, place};

/// Every sandbox of the instance, whole or half-made.
pub fn targets(host: &Host) -> Result<BTreeSet<Target>, Failure> {
    let dirs = files::names(&host.sandboxes).step("list the sandboxes")?;
    let groups = host.groups.keys()?;
    Ok(dirs.iter().chain(&groups).filter_map(|name| key::target_of(name)).collect())
}

/// One page of them.
pub fn list(host: &Host, from: &ListFrom) -> Result<Listed, Failure> {
    let all = targets(host)?;
    let mut rest = all.into_iter().filter(|target| Some(target) > from.after.as_ref());
    let entries = rest
        .by_ref()
        .take(LIST_PAGE_MAX)
        .map(|target| entry(host, target))
        .collect::<Result<Vec<Entry>, Failure>>()?;
    Ok(Listed { entries, more: rest.next().is_some() })
}

/// Looks at one sandbox.
pub fn inspect(host: &Host, target: &Target) -> Result<Option<Entry>, Failure> {
    let key = key::key_of(target);
    let found = host.groups.keys()?.contains(&key) || exists(host, &key);
    found.then(|| entry(host, target.clone())).transpose()
}

fn entry(host: &Host, target: Target) -> Result<Entry, Failure> {
    let key = key::key_of(&target);
    let alive = host.groups.alive(&key)?;
    let socket = exists(host, &format!("{key}/{SOCKET}"))
        .then(|| place::path_of(&host.state_dir, &target).join(SOCKET));
    Ok(Entry { target, alive, socket })
}

/// Whether something of this name is in the directory of sandboxes.
pub fn exists(host: &Host, name: &str) -> bool {
    rustix::fs::statat(&host.sandboxes, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
