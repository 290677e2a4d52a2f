//! The system calls that have no safe wrapper elsewhere, each behind a safe function.
//!
//! Everything `unsafe` in this crate is here. Nothing is decided here: callers pass what they mean
//! and get the kernel's answer. Correct only in a process with one thread, which the helper is.
#![expect(unsafe_code, reason = "these system calls have no safe wrapper")]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;

/// Which side of a clone or fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The new process.
    Child,
    /// The caller, with the new process's id.
    Parent(Pid),
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn side(pid: libc::c_long) -> Side {
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        None => Side::Child,
        Some(pid) => Side::Parent(pid),
    }
}

/// Clones the process into new namespaces (`CLONE_NEW*` bits), and into a cgroup of the unified
/// hierarchy if one is given.
pub fn clone_into(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    // The layout of `struct clone_args`: flags, pidfd, child_tid, parent_tid, exit_signal, stack,
    // stack_size, tls, set_tid, set_tid_size, cgroup.
    let mut args = [0_u64; 11];
    args[0] = namespaces;
    args[4] = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(cgroup) = cgroup {
        args[0] |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args[10] = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: `args` outlives the call and has the size given; without CLONE_VM the child has its
    // own copy of memory and stack, and with one thread no lock can be held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_mut_ptr(), size_of::<[u64; 11]>()) };
    checked(pid).map(side)
}

/// Forks the process.
pub fn fork() -> Result<Side, Errno> {
    // SAFETY: the process has one thread, so the child may go on running ordinary code.
    let pid = unsafe { libc::fork() };
    checked(libc::c_long::from(pid)).map(side)
}

/// Ends the process without running anything at exit: right for the child of a clone or fork.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Sets flags on a mount (and, with `userns`, shifts its ids) by descriptor.
pub fn mount_setattr(
    mount: impl AsFd,
    set: MountAttrFlags,
    userns: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<(), Errno> {
    let mut set = u64::from(set.bits());
    let mut user = 0;
    if let Some(userns) = userns {
        set |= u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        user = u64::from(userns.as_raw_fd().unsigned_abs());
    }
    // The layout of `struct mount_attr`: attr_set, attr_clr, propagation, userns_fd.
    let attributes = [set, 0, 0, user];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `attributes` outlives the call, with the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of::<[u64; 4]>(),
        )
    };
    checked(result).map(drop)
}

/// Executes the file behind a descriptor with the arguments and an empty environment; returns only
/// if that fails.
pub fn execute(file: impl AsFd, arguments: &[CString]) -> Errno {
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    pointers.push(ptr::null());
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: both lists end with a null pointer and, like the strings, outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    last()
}

/// Installs a system call filter for this process and all it executes. Needs no-new-privileges.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads the program, which outlives the call and has the length given.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    checked(result).map(drop)
}

/// Whether the kernel has system call filters with the given return action.
pub fn filter_action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one 32-bit word, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    result == 0
}

/// Leaves the session keyring that was inherited for a new, empty one.
pub fn join_new_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>()) };
    checked(result).map(drop)
}

/// Makes the cgroups that the process is in the top of what it sees of them.
pub fn leave_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: no memory is passed, and a cgroup namespace is shared with no thread.
    let result = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    checked(libc::c_long::from(result)).map(drop)
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP).map_err(|_| Errno::INVAL)?;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    checked(libc::c_long::from(result)).map(drop)
}

/// Marks every descriptor from `first` on as closed on exec.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. Only for the start of a process, before anything owns
/// one of them.
pub fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, 0)
}

fn close_range(first: u32, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: no memory is passed; `close_from` tells when closing is right.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    checked(result).map(drop)
}

/// Takes ownership of a descriptor that this process was started with.
pub fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD takes no memory and any number.
    let open = unsafe { libc::fcntl(number, libc::F_GETFD) };
    checked(libc::c_long::from(open))?;
    // SAFETY: it is open, and only the start of the process calls this, once for each number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes descriptor `number` a copy of `from`, kept across exec, whatever `number` was before.
pub fn place(from: impl AsFd, number: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2 takes no memory; only the start of a process and the last moment before exec
    // call this, when nothing owns the numbers that are overwritten.
    let result = unsafe { libc::dup2(from.as_fd().as_raw_fd(), number) };
    checked(libc::c_long::from(result)).map(drop)
}

/// The signals that end a process from outside, and that of a closed socket.
const IGNORED: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE];

/// Ignores the signals by which terminals and service managers end a group of processes, blocks
/// `SIGCHLD` and returns the descriptor that becomes readable when a child ends.
pub fn take_signals() -> Result<OwnedFd, Errno> {
    // SAFETY: `SIG_IGN` is a valid disposition; the set is initialised before use; both outlive
    // their calls.
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        checked(libc::c_long::from(fd))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Puts what [`take_signals`] changed back to what a fresh process expects. Handlers need no
/// reset: an exec does it.
pub fn reset_signals() {
    // SAFETY: `SIG_DFL` is a valid disposition; the set is initialised before use and outlives the
    // call.
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Names the process in listings.
pub fn name_process(name: &CStr) {
    // A name is a courtesy to people: nothing depends on it.
    let _ = rustix::thread::set_name(name);
}
