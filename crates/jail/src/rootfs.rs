//! The parts of a sandbox's root file system that only the host's root can mount.
//!
//! The helper builds them as detached mounts and hands them over; the sandbox's first process puts
//! them in place. Layers get their ids shifted, the writable layer is owned by the shifted ids
//! already: shifting it too would silently mount it read-only. Called by `create` and `probe`.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use crate::failure::{Failure, InStep};
use crate::place::{UPPER, WORK, by_descriptor};
use crate::sys;

/// Mounts a host directory read-only and detached, for `binds`.
pub fn bind(source: &Path) -> Result<OwnedFd, Failure> {
    const STEP: &str = "mount a directory of the host";
    // A symbolic link here (`/bin` of most hosts) is refused by the kernel as not a directory.
    let dir = rustix::fs::open(
        source,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step(STEP)?;
    // Recursive: what is mounted beneath /usr on the host belongs to it.
    let tree = clone_tree(&dir, true).step(STEP)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    sys::mount_setattr(&tree, attributes, None, true).step(STEP)?;
    Ok(tree)
}

/// A copy of the mount at a descriptor, attached to nothing.
pub fn clone_tree(dir: &OwnedFd, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, "", flags)
}

/// One read-only layer with its ids shifted as the user namespace maps them.
fn layer(state_dir: &OwnedFd, beneath: &Path, userns: &OwnedFd) -> Result<OwnedFd, Failure> {
    const STEP: &str = "shift the ids of an image layer";
    let dir = rustix::fs::openat2(
        state_dir,
        beneath,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .step("open an image layer")?;
    let tree = clone_tree(&dir, false).step(STEP)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    sys::mount_setattr(&tree, attributes, Some(std::os::fd::AsFd::as_fd(userns)), false)
        .step(STEP)?;
    Ok(tree)
}

/// What the root file system is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The state directory.
    pub state_dir: &'a OwnedFd,
    /// Layers beneath it, topmost first.
    pub layers: Vec<&'a Path>,
    /// The sandbox's directory with `upper` and `work`.
    pub place: &'a OwnedFd,
    /// The user namespace whose map shifts the layers.
    pub userns: &'a OwnedFd,
}

/// Mounts the layers and the writable one, detached.
pub fn overlay(parts: &Parts<'_>) -> Result<OwnedFd, Failure> {
    const STEP: &str = "mount the writable layer";
    let layers = parts
        .layers
        .iter()
        .map(|layer_path| layer(parts.state_dir, layer_path, parts.userns))
        .collect::<Result<Vec<OwnedFd>, Failure>>()?;
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(STEP)?;
    let set =
        |key: &str, value: &str| rustix::mount::fsconfig_set_string(&fs, key, value).step(STEP);
    if let [only] = layers.as_slice() {
        set("lowerdir", &by_descriptor(only))?;
    } else {
        for layer in &layers {
            set("lowerdir+", &by_descriptor(layer))?;
        }
    }
    let place = by_descriptor(parts.place);
    set("upperdir", &format!("{place}/{UPPER}"))?;
    set("workdir", &format!("{place}/{WORK}"))?;
    // A writable layer is never mounted a second time, so nothing is gained by writing it out. If
    // it were, the end of one sandbox would wait for all that is unwritten on the file system.
    rustix::mount::fsconfig_set_flag(&fs, "volatile").step(STEP)?;
    rustix::mount::fsconfig_create(&fs).step(STEP)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount =
        rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(STEP)?;
    let flags = rustix::fs::fstatvfs(&mount).step(STEP)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Err(Errno::ROFS).step(STEP);
    }
    Ok(mount)
}

/// Opens the state directory for `overlay`.
pub fn open_state(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
