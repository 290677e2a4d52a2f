//! Finds out what the host offers by trying, and names the setting for what is missing.
//!
//! Tries the real steps of a create on a throw-away process and directory, because versions and
//! settings lie. Called by `helper`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Signal, WaitOptions};
use rustix::thread::CapabilitySet;

use crate::cgroup::{Controller, Kind, Layout};
use crate::claims::{FIRST, RANGE};
use crate::create::NAMESPACES;
use crate::failure::{Failure, InStep};
use crate::host::Host;
use crate::rootfs::{self, Parts};
use crate::sys::{self, Side};
use crate::wire::{Feature, Missing, Probe};
use crate::{files, inside, packet, place, remove};

/// The name of the throw-away directory in the state directory; no sandbox can have it.
const TRIAL: &str = "probe";

/// Looks at everything a sandbox needs.
pub fn probe(host: &Host) -> Result<Probe, Failure> {
    let layout = Layout::of_host().step("read the cgroup hierarchies")?;
    let mut missing = Vec::new();
    missing.extend(root());
    missing.extend(controllers(&layout));
    missing.extend(filters());
    missing.extend(trial(host)?);
    let controllers = layout
        .trees
        .iter()
        .flat_map(|tree| &tree.controllers)
        .map(|controller| controller.name().to_owned())
        .collect();
    let cgroup_kill = layout.trees.iter().any(|tree| tree.kind == Kind::Unified);
    Ok(Probe { cgroup_layout: layout.summary, controllers, cgroup_kill, missing })
}

fn lacks(feature: Feature, problem: impl Into<String>, fix: &str) -> Missing {
    Missing { feature, problem: problem.into(), fix: fix.to_owned() }
}

fn root() -> Option<Missing> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if rustix::process::geteuid().is_root() && held.contains(CapabilitySet::SYS_ADMIN) {
        return None;
    }
    let problem = "the privileged helper does not run as the host's root";
    Some(lacks(Feature::Root, problem, "run stacyvm as root, or in a container with --privileged"))
}

fn controllers(layout: &Layout) -> Option<Missing> {
    let names: Vec<&str> = layout.missing().into_iter().map(Controller::name).collect();
    if names.is_empty() {
        return None;
    }
    let problem = format!("no cgroup hierarchy has: {}", names.join(", "));
    let fix = "mount -t cgroup2 none /sys/fs/cgroup, and boot without cgroup_disable=";
    Some(lacks(Feature::CgroupControllers, problem, fix))
}

fn filters() -> Option<Missing> {
    if sys::filter_action_available(libc::SECCOMP_RET_KILL_PROCESS) {
        return None;
    }
    let problem = "the kernel has no system call filters";
    let fix = "use a kernel with CONFIG_SECCOMP_FILTER=y, and a container profile that allows them";
    Some(lacks(Feature::Seccomp, problem, fix))
}

/// Clones a process into namespaces, maps its ids, and tries the mounts of a create with it.
fn trial(host: &Host) -> Result<Vec<Missing>, Failure> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .step("make a socket pair")?;
    let pid = match sys::clone_into(NAMESPACES, None) {
        Ok(Side::Child) => {
            drop(ours);
            subject(&theirs)
        }
        Ok(Side::Parent(pid)) => pid,
        Err(errno) => return Ok(vec![no_namespaces(errno)]),
    };
    drop(theirs);
    let mut missing = Vec::new();
    let mut word = [0; 16];
    // The subject tries /proc as soon as it lives, and then waits to be killed.
    let (length, _) = packet::receive(&ours, &mut word).step("hear from the trial process")?;
    if word[..length] != *inside::ROOT {
        let problem = "a new /proc cannot be mounted, because the host's is covered in parts";
        let fix = "run stacyvm outside a container, or with --security-opt systempaths=unconfined";
        missing.push(lacks(Feature::ProcVisible, problem, fix));
    }
    missing.extend(try_overlay(host, pid));
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    Ok(missing)
}

fn no_namespaces(errno: Errno) -> Missing {
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    let (feature, fix) = if limit.is_ok_and(|limit| limit.trim() == "0") {
        (Feature::UserNamespaces, "sysctl -w user.max_user_namespaces=63359")
    } else if errno == Errno::NOSPC || errno == Errno::USERS {
        (Feature::Namespaces, "raise the sysctls user.max_*_namespaces")
    } else if !std::path::Path::new("/proc/self/ns/user").exists() {
        (Feature::UserNamespaces, "use a kernel with CONFIG_USER_NS=y")
    } else {
        (Feature::Namespaces, "use a kernel from 5.7 on, and allow clone3 in the container profile")
    };
    lacks(feature, format!("new namespaces are refused: {}", std::io::Error::from(errno)), fix)
}

fn subject(helper: &OwnedFd) -> ! {
    let word: &[u8] = if inside::can_mount_proc() { inside::ROOT } else { b"no" };
    let _ = packet::send(helper, word, None);
    let mut forever = [0; 1];
    let _ = packet::receive(helper, &mut forever);
    sys::exit_now(0)
}

fn try_overlay(host: &Host, pid: rustix::process::Pid) -> Option<Missing> {
    let tried = trial_dir(host).and_then(|dir| {
        let map = format!("0 {FIRST} {RANGE}");
        let process = format!("/proc/{pid}");
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("{process}/{file}"), &map).step("map the ids of a process")?;
        }
        let userns = std::fs::File::open(format!("{process}/ns/user"));
        let userns = OwnedFd::from(userns.step("open a user namespace")?);
        let layer = std::path::Path::new(TRIAL).join("lower");
        rootfs::overlay(&Parts {
            state_dir: &host.state,
            layers: vec![&layer],
            place: &dir,
            userns: &userns,
        })
    });
    let removed = std::ffi::CString::new(TRIAL).map_err(|_| Errno::INVAL);
    let _ = removed.and_then(|name| remove::remove_tree(host.state.as_fd(), &name));
    let failure = tried.err()?;
    let message = failure.to_string();
    Some(match failure.step.as_ref() {
        "shift the ids of an image layer" => {
            let fix = "keep the data directory on ext4, xfs or btrfs, on a kernel from 5.19 on";
            lacks(Feature::OverlayIdmapped, message, fix)
        }
        _ if failure.errno == Errno::NODEV => {
            lacks(Feature::OverlayIdmapped, message, "modprobe overlay")
        }
        _ => {
            let fix =
                "keep the data directory on a local ext4, xfs, btrfs or tmpfs, not on overlay";
            lacks(Feature::StateDirUpper, message, fix)
        }
    })
}

/// A directory like a sandbox's, with a layer in it.
fn trial_dir(host: &Host) -> Result<OwnedFd, Failure> {
    const STEP: &str = "make a directory in the state directory";
    let made = rustix::fs::mkdirat(&host.state, TRIAL, Mode::RWXU);
    files::present_is_fine(made).step(STEP)?;
    let dir = files::open_dir(&host.state, TRIAL).step(STEP)?;
    let made = rustix::fs::mkdirat(&dir, "lower", Mode::RWXU);
    files::present_is_fine(made).step(STEP)?;
    if rustix::fs::statat(&dir, place::UPPER, AtFlags::empty()).is_err() {
        place::make_layers(&dir, FIRST)?;
    }
    Ok(dir)
}
