//! Makes a sandbox: the helper's side of it.
//!
//! The record comes first, then directories, cgroups and sockets, then the clone; while its first
//! process prepares itself (`inside`), the helper maps its ids and builds its root. The sandbox
//! exists when that process has executed the agent, which closes the socket between the two. A
//! failure is undone by `destroy`, the same way as what a crash leaves. Called by `helper`.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::claims::RANGE;
use crate::failure::{CLONE, Failure, InStep};
use crate::host::Host;
use crate::inside::{self, Plan};
use crate::place::{Meta, SOCKET};
use crate::rootfs::{self, Parts};
use crate::seccomp::Filter;
use crate::sys::Side;
use crate::wire::{CreateSpec, Created, JailError, Target};
use crate::{destroy, files, inventory, key, packet, place, sys};

/// Every namespace but that of time, and the cgroup one, which comes after entering the cgroups.
pub const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC)
    .cast_unsigned() as u64;

/// How long the first process may take to execute the agent: a few milliseconds are usual, and the
/// helper does nothing else meanwhile.
const READY_WITHIN: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Makes the sandbox, or finds it alive and whole.
pub fn create(host: &mut Host, spec: &CreateSpec) -> Result<Created, JailError> {
    let target = &spec.target;
    if inventory::exists(host, &key::key_of(target)) {
        if let Some(created) = find_whole(host, target)? {
            return Ok(created);
        }
        destroy::destroy(host, target)?;
    }
    make(host, spec).map_err(|failure| match destroy::destroy(host, target) {
        Ok(()) => failure.into(),
        Err(undo) => {
            let mut error = JailError::from(failure);
            error.message = format!("{} (and then failed to {undo})", error.message);
            error
        }
    })
}

/// A sandbox that is alive and got as far as its filter, which is the last step before the agent.
fn find_whole(host: &Host, target: &Target) -> Result<Option<Created>, Failure> {
    let pids = host.groups.pids(&key::key_of(target)).step("look for processes")?;
    let Some(pid) = pids.into_iter().min_by_key(|pid| pid.as_raw_nonzero()) else {
        return Ok(None);
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if !status.lines().any(|line| line == "Seccomp:\t2") {
        return Ok(None);
    }
    Ok(Some(created(host, target, pid)))
}

fn created(host: &Host, target: &Target, pid: Pid) -> Created {
    let socket = place::path_of(&host.state_dir, target).join(SOCKET);
    Created { pid: pid.as_raw_nonzero().get(), socket }
}

fn make(host: &mut Host, spec: &CreateSpec) -> Result<Created, Failure> {
    let key = key::key_of(&spec.target);
    let (dir, uid_base) = found(host, &spec.target, &key)?;
    place::make_layers(&dir, uid_base)?;
    let group = host.groups.make(&key, &spec.limits, uid_base)?;
    let binds = spec
        .image
        .binds
        .iter()
        .map(|bind| Ok((rootfs::bind(&bind.source)?, bind.target.clone())))
        .collect::<Result<Vec<_>, Failure>>()?;
    let plan = Plan {
        hostname: &spec.hostname,
        place: c_string(place::path_of(&host.state_dir, &spec.target).as_os_str().as_bytes())?,
        binds,
        tasks: group.tasks,
        listener: place::listen(&dir)?,
        delegated: group.delegated,
        oom: group.oom,
        agent: host.agent.as_fd(),
        arguments: spec
            .agent_argv
            .iter()
            .map(|argument| c_string(argument.as_bytes()))
            .collect::<Result<_, _>>()?,
        filter: Filter::sandbox().program(),
    };
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .step("make a socket pair")?;
    let unified = group.unified.as_ref().map(AsFd::as_fd);
    let pid = match sys::clone_into(NAMESPACES, unified).step(CLONE)? {
        Side::Child => {
            drop(ours);
            inside::run(&plan, &theirs)
        }
        Side::Parent(pid) => pid,
    };
    drop(theirs);
    let newborn = Newborn { pid, socket: ours, uid_base, place: dir };
    match raise(host, spec, &newborn) {
        Ok(()) => Ok(created(host, &spec.target, pid)),
        Err(failure) => {
            end(pid);
            Err(failure)
        }
    }
}

/// Makes the sandbox's directory, claims its ids and writes its record.
fn found(host: &mut Host, target: &Target, key: &str) -> Result<(OwnedFd, u32), Failure> {
    const STEP: &str = "make the sandbox's directory";
    let claim = host.claim_of(target);
    let uid_base = {
        let mut locked = host.claims.lock()?;
        rustix::fs::mkdirat(&host.sandboxes, key, Mode::RWXU).step(STEP)?;
        locked.claim(&claim)?
    };
    let dir = files::open_dir(&host.sandboxes, key).step(STEP)?;
    let meta = Meta {
        instance: host.instance.clone(),
        sandbox: target.sandbox.clone(),
        incarnation: target.incarnation,
        uid_base,
    };
    place::write_meta(&dir, &meta)?;
    Ok((dir, uid_base))
}

/// The first process of a sandbox, not yet the agent.
struct Newborn {
    pid: Pid,
    socket: OwnedFd,
    uid_base: u32,
    place: OwnedFd,
}

/// Gives the first process its ids and its root, and waits until it has become the agent.
fn raise(host: &Host, spec: &CreateSpec, newborn: &Newborn) -> Result<(), Failure> {
    let given = map_ids(newborn).and_then(|userns| give_root(host, spec, newborn, &userns));
    match given {
        // One that ended early has reported why.
        Ok(()) | Err(Failure { errno: Errno::PIPE | Errno::SRCH, .. }) => await_agent(newborn),
        Err(failure) => Err(failure),
    }
}

fn map_ids(newborn: &Newborn) -> Result<OwnedFd, Failure> {
    const STEP: &str = "map the sandbox's ids";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let process = format!("/proc/{}", newborn.pid);
    let process = rustix::fs::open(process, flags, Mode::empty()).step(STEP)?;
    let map = format!("0 {} {RANGE}", newborn.uid_base);
    files::write(&process, "uid_map", &map).step(STEP)?;
    files::write(&process, "gid_map", &map).step(STEP)?;
    packet::send(&newborn.socket, inside::MAPPED, None).step(STEP)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&process, "ns/user", flags, Mode::empty()).step(STEP)
}

fn give_root(
    host: &Host,
    spec: &CreateSpec,
    newborn: &Newborn,
    userns: &OwnedFd,
) -> Result<(), Failure> {
    let layers: Result<Vec<&Path>, Failure> = spec
        .image
        .lower
        .iter()
        .map(|layer| {
            layer.strip_prefix(&host.state_dir).map_err(|_| Errno::XDEV).step("find a layer")
        })
        .collect();
    let root = rootfs::overlay(&Parts {
        state_dir: &host.state,
        layers: layers?,
        place: &newborn.place,
        userns,
    })?;
    packet::send(&newborn.socket, inside::ROOT, Some(root.as_fd())).step("send the root")
}

/// Waits until the socket closes without a word (the agent runs) or brings a report.
fn await_agent(newborn: &Newborn) -> Result<(), Failure> {
    const STEP: &str = "wait for the agent to start";
    let mut polled = [PollFd::new(&newborn.socket, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&READY_WITHIN)));
    if ready.step(STEP)? == 0 {
        return Err(Errno::TIMEDOUT).step(STEP);
    }
    let mut report = [0; inside::REPORT_BYTES_MAX];
    match packet::receive(&newborn.socket, &mut report) {
        Ok((0, _)) => alive(newborn.pid),
        Ok((length, _)) => Err(inside::read_report(&report[..length])),
        Err(errno) => Err(errno).step(STEP),
    }
}

/// A closed socket means the agent runs, unless the process died on the way.
fn alive(pid: Pid) -> Result<(), Failure> {
    const STEP: &str = "start the agent, which ended at once";
    // Left to be reaped: until then its number stays its own.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let ended = rustix::process::waitid(WaitId::Pid(pid), look).step(STEP)?;
    if ended.is_some() { Err(Errno::CHILD).step(STEP) } else { Ok(()) }
}

/// Ends and reaps a first process that will not become an agent. It is an unreaped child, so its
/// number cannot mean another process.
fn end(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Errno::INVAL).step("pass a string on")
}
