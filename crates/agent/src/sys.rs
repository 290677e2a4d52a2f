//! The system calls that have no safe wrapper: fork and exec, wait with usage, signal
//! descriptors, file-system identity. The only module of the agent with `unsafe`; it holds no
//! policy. The supervisor, `exec::launch` and the file tasks call it.
#![expect(unsafe_code, reason = "fork, exec and per-thread identity have no safe interface")]

use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::ended::{Reaped, wait_status};

/// `_exit` code of a child that could not exec; nobody reads it, the report pipe says more.
const NOT_STARTED: i32 = 127;

/// Where a keeper moves the one descriptor that it keeps.
const KEEPER_SOCKET: i32 = 3;

/// The highest capability number that a kernel may know; the kernel refuses those it does not.
const LAST_CAPABILITY: libc::c_ulong = 63;

/// A user and group to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

/// What a failed child was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    Session = 1,
    Cgroup = 2,
    Streams = 3,
    Identity = 4,
    Workdir = 5,
    Exec = 6,
    Fork = 7,
}

impl Step {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Session,
            Self::Cgroup,
            Self::Streams,
            Self::Identity,
            Self::Workdir,
            Self::Exec,
            Self::Fork,
        ];
        all.into_iter().find(|step| *step as u8 == byte)
    }
}

/// Everything that a child needs, made before the fork: nothing is allocated after it.
#[derive(Debug)]
pub struct Launch {
    /// Tried in this order, as `execvp` does.
    pub programs: Vec<CString>,
    pub argv: Vec<CString>,
    pub envp: Vec<CString>,
    pub workdir: CString,
    pub identity: Option<Identity>,
    pub open_files: Rlimit,
}

/// The child's ends of its pipes, or its terminal.
#[derive(Debug)]
pub struct ChildEnds {
    pub stdin: Arc<OwnedFd>,
    pub stdout: Arc<OwnedFd>,
    pub stderr: Arc<OwnedFd>,
    /// Standard input is a terminal, which becomes the one that controls the child's session.
    pub terminal: bool,
    /// Says why the child could not be started; closed by a successful exec.
    pub report: OwnedFd,
    pub entry: Entry,
}

/// How the child comes into its kill domain.
#[derive(Debug)]
pub enum Entry {
    /// It joins the cgroup of this `cgroup.procs` file.
    Cgroup(OwnedFd),
    /// It gets a keeper for a parent: a process that every orphan of the domain comes back to,
    /// that says through this socket who the child is and how it ended (`ended::Word`), and that
    /// ends with the last of them.
    Keeper(OwnedFd),
}

/// Takes over a descriptor that the process inherited under that number.
///
/// # Errors
/// When no such descriptor is open, or it is one of the three standard ones.
pub fn inherit(number: i32) -> Result<OwnedFd, Errno> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::BADF);
    }
    // SAFETY: fcntl reads and sets a flag of a number and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor is open, was opened by the parent, and nothing else in this process
    // has been given it: the configuration is read once, before any thread starts.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Keeps the heap small: one arena, and large blocks go back to the kernel when freed.
pub fn tune_allocator() {
    // SAFETY: mallopt takes two numbers; it is called before any other thread exists.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
    }
}

/// Blocks SIGCHLD in this thread and those it starts, and returns a descriptor that becomes
/// readable instead. Other signals get their default action back.
pub fn child_signals() -> Result<OwnedFd, Errno> {
    // SAFETY: `set` is a plain value that sigemptyset initialises before it is read; `signal`
    // with SIG_DFL installs no code. No other thread exists yet.
    let fd = unsafe {
        for number in 1..=libc::SIGRTMAX() {
            if number != libc::SIGPIPE && number != libc::SIGSEGV && number != libc::SIGBUS {
                libc::signal(number, libc::SIG_DFL);
            }
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: signalfd has just returned it, so it is open and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A child that has ended and is not reaped yet, if there is one.
pub fn next_zombie() -> Option<i32> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a plain value that the call fills; zeroed it says "no child".
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let failed = libc::waitid(libc::P_ALL, 0, &raw mut info, flags) < 0;
        (!failed && info.si_pid() > 0).then(|| info.si_pid())
    }
}

/// Reaps an ended child.
pub fn reap(pid: i32) -> Option<Reaped> {
    let mut status = 0;
    // SAFETY: `status` and `usage` are plain values that the call fills.
    let (reaped, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    if reaped != pid {
        return None;
    }
    Some(Reaped::new(status, &usage))
}

/// Starts a child; returns the id of the process to wait for, the child or its keeper, as soon
/// as it exists. What keeps the child from its program comes through the report pipe (see
/// [`read_report`]).
pub fn start(launch: &Launch, ends: &ChildEnds) -> Result<i32, Errno> {
    let argv = pointers(&launch.argv);
    let envp = pointers(&launch.envp);
    // SAFETY: the child of a fork in a process with threads may only make async-signal-safe
    // calls. `child` and `keeper` make plain system calls on memory prepared above, take no
    // lock, do not allocate, and never return.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => match &ends.entry {
            Entry::Cgroup(_) => child(launch, ends, &argv, &envp),
            Entry::Keeper(ended) => keeper((launch, ends), &argv, &envp, ended),
        },
        pid => Ok(pid),
    }
}

/// The whole life of a keeper: it starts the child, lets go of everything else, and waits for
/// all that comes back to it.
fn keeper(
    (launch, ends): (&Launch, &ChildEnds),
    argv: &[*const c_char],
    envp: &[*const c_char],
    ended: &OwnedFd,
) -> ! {
    // Nothing but KILL interrupts it, and only the agent's user may send that.
    block_all_signals();
    let _ = rustix::process::setsid();
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // SAFETY: as in `start`; this process has a single thread, and `child` never returns.
    let main = match unsafe { libc::fork() } {
        -1 => give_up(ends, Step::Fork, last_errno()),
        0 => child(launch, ends, argv, envp),
        pid => pid,
    };
    // Its copies of the agent's descriptors would hold other jobs' pipes open.
    // SAFETY: calls with numbers, and a write from a buffer of this length; this process exits
    // without using or dropping any of the descriptors that are closed here.
    unsafe {
        libc::dup3(ended.as_raw_fd(), KEEPER_SOCKET, 0);
        libc::syscall(libc::SYS_close_range, KEEPER_SOCKET + 1, libc::c_uint::MAX, 0);
        libc::write(KEEPER_SOCKET, main.to_ne_bytes().as_ptr().cast(), size_of::<i32>());
    }
    loop {
        // SAFETY: the call fills `info` and `usage`, which are plain values.
        let (failed, info, usage) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let mut usage: libc::rusage = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            let (info_at, usage_at) = (&raw mut info, &raw mut usage);
            let waitid = libc::SYS_waitid;
            let failed = libc::syscall(waitid, libc::P_ALL, 0, info_at, flags, usage_at) < 0;
            (failed, info, usage)
        };
        if failed {
            // SAFETY: `_exit` runs no destructor and no handler.
            unsafe { libc::_exit(0) }
        }
        // SAFETY: reads what the call has filled in; the calls take numbers and buffers of the
        // length that they are told.
        unsafe {
            if info.si_pid() == main {
                let status = wait_status(info.si_code, info.si_status());
                let bytes = Reaped::new(status, &usage).encode(status);
                libc::write(KEEPER_SOCKET, bytes.as_ptr().cast(), bytes.len());
                // The child's number is given back only when the agent no longer signals it.
                libc::read(KEEPER_SOCKET, [0_u8].as_mut_ptr().cast(), 1);
            }
            libc::wait4(info.si_pid(), ptr::null_mut(), libc::WNOHANG, ptr::null_mut());
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// The whole life of the child between fork and exec.
fn child(launch: &Launch, ends: &ChildEnds, argv: &[*const c_char], envp: &[*const c_char]) -> ! {
    let (step, error) = match enter(launch, ends) {
        Ok(()) => (Step::Exec, exec(&launch.programs, argv, envp)),
        Err(failure) => failure,
    };
    give_up(ends, step, error)
}

/// Says why the child cannot be started, and ends.
fn give_up(ends: &ChildEnds, step: Step, error: Errno) -> ! {
    let [e0, e1, e2, e3] = error.raw_os_error().to_ne_bytes();
    let _ = rustix::io::write(&ends.report, &[step as u8, e0, e1, e2, e3]);
    // SAFETY: `_exit` runs no destructor and no handler, and is async-signal-safe.
    unsafe { libc::_exit(NOT_STARTED) }
}

fn enter(launch: &Launch, ends: &ChildEnds) -> Result<(), (Step, Errno)> {
    let at = |step: Step| move |error: Errno| (step, error);
    rustix::process::setsid().map_err(at(Step::Session))?;
    if let Entry::Cgroup(cgroup) = &ends.entry {
        rustix::io::write(cgroup, b"0").map_err(at(Step::Cgroup))?;
    }
    prefer_as_victim();
    if ends.terminal {
        rustix::process::ioctl_tiocsctty(&*ends.stdin).map_err(at(Step::Streams))?;
    }
    rustix::stdio::dup2_stdin(&*ends.stdin).map_err(at(Step::Streams))?;
    rustix::stdio::dup2_stdout(&*ends.stdout).map_err(at(Step::Streams))?;
    rustix::stdio::dup2_stderr(&*ends.stderr).map_err(at(Step::Streams))?;
    close_on_exec_from(libc::STDERR_FILENO + 1);
    let _ = rustix::process::setrlimit(Resource::Nofile, launch.open_files);
    if let Some(identity) = launch.identity {
        become_user(identity).map_err(at(Step::Identity))?;
    }
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::chdir(launch.workdir.as_c_str()).map_err(at(Step::Workdir))?;
    default_signals();
    Ok(())
}

/// Makes the job, not the agent, what the kernel ends when memory runs out.
fn prefer_as_victim() {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(&file, b"500");
        // Dropping the descriptor closes it, which is a plain system call.
    }
}

fn close_on_exec_from(first: i32) {
    let first = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: sets a flag on descriptors; no memory is touched. Every descriptor of the agent
    // has the flag already, so a kernel without the call loses only the second line of defence.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Drops every privilege for good and becomes the user. The raw calls change this thread alone,
/// which after a fork is the whole process.
fn become_user(identity: Identity) -> Result<(), Errno> {
    for capability in 0..=LAST_CAPABILITY {
        // SAFETY: prctl with numbers only.
        let refused = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0;
        if refused && last_errno() == Errno::INVAL {
            // Past the last capability that this kernel knows.
            break;
        }
    }
    let clear = libc::c_ulong::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or(4);
    // SAFETY: prctl with numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) };
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn block_all_signals() {
    // SAFETY: both calls are async-signal-safe; sigfillset initialises the set before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Makes this thread's file calls those of the user, for as long as the thread lives. Its file
/// capabilities go with the identity; other threads keep theirs.
pub fn become_file_user(identity: Identity) -> Result<(), Errno> {
    // A process that may not change its groups has none to lose.
    let _ = rustix::thread::set_thread_groups(&[]);
    // The calls report no failure, but return the value that was in force: the second call of
    // each pair, which changes nothing, says whether the first took effect.
    // SAFETY: both calls take numbers and change this thread alone.
    let (gid, uid) = unsafe {
        libc::setfsgid(identity.gid);
        libc::setfsuid(identity.uid);
        (libc::setfsgid(identity.gid), libc::setfsuid(identity.uid))
    };
    let took = |now: i32, wanted: u32| u32::try_from(now) == Ok(wanted);
    if took(gid, identity.gid) && took(uid, identity.uid) { Ok(()) } else { Err(Errno::PERM) }
}

fn default_signals() {
    // SAFETY: `signal` and `sigprocmask` are async-signal-safe; the set is initialised by
    // sigemptyset before it is read. SIGPIPE is the one signal that the Rust runtime ignores,
    // and an ignored signal would stay ignored after exec.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Tries each program; returns the error that says most when none could be executed.
fn exec(programs: &[CString], argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    let mut worst = Errno::NOENT;
    for program in programs {
        // SAFETY: the program is a C string, both arrays are null-terminated arrays of pointers
        // to C strings, and all of them live in memory of the caller.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match last_errno() {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            error => return error,
        }
    }
    worst
}

/// What the child says of its start: nothing if its program runs.
pub fn read_report(report: BorrowedFd<'_>) -> Option<(Step, Errno)> {
    let mut bytes = [0; 5];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(report, &mut bytes)).ok()?;
    let [step, e0, e1, e2, e3] = bytes;
    if count != bytes.len() {
        return None;
    }
    let step = Step::from_byte(step)?;
    Some((step, Errno::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3]))))
}

/// Sends a signal; the error says when there is no such process.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // Process 1 is the agent or the host's init, 0 and below are groups: never meant.
    if pid <= 1 {
        return Err(Errno::SRCH);
    }
    // SAFETY: kill takes two numbers.
    if unsafe { libc::kill(pid, signal) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Sends a signal to a process group.
pub fn kill_group(group: i32, signal: i32) -> Result<(), Errno> {
    // Group 1 is the agent's own or that of the host's init, 0 and below mean others: never meant.
    if group <= 1 {
        return Err(Errno::SRCH);
    }
    // SAFETY: kill takes two numbers.
    if unsafe { libc::kill(-group, signal) } < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    // SAFETY: points at this thread's errno, always valid.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
