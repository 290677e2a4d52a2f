//! The file tree of a sandbox: root, /proc, /sys, /dev and the host's read-only directories.
//!
//! Every mount target is opened beneath the new root without following a symbolic link, so that an
//! image cannot redirect a mount. Parts that do not depend on the root are mounted detached, before
//! it arrives. Called by `inside`, in the sandbox's own namespaces.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::failure::{Failure, InStep};
use crate::rootfs::clone_tree;
use crate::sys;

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const INERT: MountAttrFlags = NOSUID.union(NODEV).union(NOEXEC);

/// Files of /proc that tell about the host or its other tenants.
const MASKED_FILES: [&str; 7] =
    ["kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "interrupts"];
/// Directories of /proc and /sys that do.
const MASKED_DIRS: [(&str, &str); 5] = [
    ("proc", "acpi"),
    ("proc", "asound"),
    ("proc", "scsi"),
    ("sys", "firmware"),
    ("sys", "devices/virtual/powercap"),
];
/// Parts of /proc through which the kernel is set up.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Devices without state, taken from the host.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links that programs expect beside them.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Room for the device nodes and nothing else.
const DEV_OPTIONS: &[(&str, &str)] = &[("mode", "755"), ("size", "64k"), ("nr_inodes", "64")];
/// Shared memory: counted against the memory limit too, so this only keeps one program's mistake
/// from using all of it.
const SHM_OPTIONS: &[(&str, &str)] = &[("mode", "1777"), ("size", "64m"), ("nr_inodes", "16k")];
/// Terminals of the sandbox's own; group 5 is `tty` in every distribution.
const PTS_OPTIONS: &[(&str, &str)] = &[("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")];

/// The mounts that need no root file system.
#[derive(Debug)]
pub struct System {
    proc: OwnedFd,
    sys: OwnedFd,
    dev: OwnedFd,
    pts: OwnedFd,
    shm: OwnedFd,
    mqueue: OwnedFd,
}

/// Mounts them, detached.
pub fn prepare() -> Result<System, Failure> {
    Ok(System {
        proc: new_mount("proc", &[], INERT).step("mount /proc")?,
        sys: new_mount("sysfs", &[], INERT | RDONLY).step("mount /sys")?,
        dev: new_mount("tmpfs", DEV_OPTIONS, NOSUID | NOEXEC).step("mount /dev")?,
        pts: new_mount("devpts", PTS_OPTIONS, NOSUID | NOEXEC).step("mount /dev/pts")?,
        shm: new_mount("tmpfs", SHM_OPTIONS, INERT).step("mount /dev/shm")?,
        mqueue: new_mount("mqueue", &[], INERT).step("mount /dev/mqueue")?,
    })
}

/// Whether a new /proc may be mounted here.
pub fn can_mount_proc() -> bool {
    new_mount("proc", &[], INERT).is_ok()
}

/// Puts the whole tree in place over the directory `place` of the host, and enters it.
pub fn build(
    root: &OwnedFd,
    place: &OwnedFd,
    system: &System,
    binds: &[(OwnedFd, PathBuf)],
) -> Result<(), Failure> {
    attach(root, place).step("mount the root")?;
    rustix::process::fchdir(root).step("enter the root")?;
    fill_dev(root, system)?;
    attach(&system.sys, &directory(root, Path::new("sys")).step("find /sys")?)
        .step("mount /sys")?;
    attach(&system.proc, &directory(root, Path::new("proc")).step("find /proc")?)
        .step("mount /proc")?;
    mask(system).step("mask parts of /proc and /sys")?;
    for (mount, target) in binds {
        const STEP: &str = "place a directory of the host";
        let beneath = target.strip_prefix("/").map_err(|_| Errno::INVAL).step(STEP)?;
        attach(mount, &directory(root, beneath).step(STEP)?).step(STEP)?;
    }
    Ok(())
}

/// Makes the tree the root directory and cuts the host's off.
pub fn leave_host() -> Result<(), Failure> {
    const STEP: &str = "leave the host's file tree";
    rustix::process::pivot_root(".", ".").step(STEP)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(STEP)?;
    rustix::process::chdir("/").step(STEP)
}

fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&fs, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&fs)?;
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
}

fn fill_dev(root: &OwnedFd, system: &System) -> Result<(), Failure> {
    const STEP: &str = "fill /dev";
    let dev = &system.dev;
    attach(dev, &directory(root, Path::new("dev")).step("find /dev")?).step("mount /dev")?;
    let mounts = [("pts", &system.pts), ("shm", &system.shm), ("mqueue", &system.mqueue)];
    for (name, mount) in mounts {
        attach(mount, &directory(dev, Path::new(name)).step(STEP)?).step(STEP)?;
    }
    for name in DEVICES {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        let target = rustix::fs::openat(dev, name, flags, Mode::RUSR).step(STEP)?;
        attach(&host_file(&format!("/dev/{name}")).step(STEP)?, &target).step(STEP)?;
    }
    for (to, name) in DEVICE_LINKS {
        rustix::fs::symlinkat(to, dev, name).step(STEP)?;
    }
    Ok(())
}

/// A detached mount of one file of the host, which is still in reach.
fn host_file(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags)
}

fn mask(system: &System) -> Result<(), Errno> {
    for name in READ_ONLY {
        if let Some(target) = existing(&system.proc, name)? {
            let copy = clone_tree(&target, true)?;
            sys::mount_setattr(&copy, INERT | RDONLY, None, true)?;
            attach(&copy, &target)?;
        }
    }
    for name in MASKED_FILES {
        if let Some(target) = existing(&system.proc, name)? {
            attach(&host_file("/dev/null")?, &target)?;
        }
    }
    let mut empty: Option<OwnedFd> = None;
    for (tree, name) in MASKED_DIRS {
        let tree = if tree == "proc" { &system.proc } else { &system.sys };
        let Some(target) = existing(tree, name)? else { continue };
        let cover = match &empty {
            Some(first) => clone_tree(first, false)?,
            None => new_mount("tmpfs", &[("size", "0"), ("nr_inodes", "1")], INERT | RDONLY)?,
        };
        attach(&cover, &target)?;
        empty.get_or_insert(cover);
    }
    Ok(())
}

fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            // A rename somewhere on the host made the kernel unsure; it asks to try again.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn existing(root: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    match beneath(root, Path::new(name), OFlags::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory beneath the root, making what is missing of its path.
fn directory(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    match beneath(root, path, OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut at = root.try_clone().map_err(|_| Errno::MFILE)?;
    for name in path {
        let made = rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755));
        crate::files::present_is_fine(made)?;
        at = beneath(&at, Path::new(name), OFlags::DIRECTORY)?;
    }
    Ok(at)
}
