//! Which system calls a sandbox may make: the facts behind the filter.
//!
//! An allow-list. It starts from what container engines allow by default and leaves out what needs
//! capabilities that no sandbox has. Calls that are known and refused answer "not permitted", so
//! that programs report them; everything else answers "no such call", so that programs fall back.
//! Pure data and one look-up, used by `seccomp` only.

#[cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "the lists below are nearly all of its numbers")
)]
use libc::*;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the kernel.
    Allow,
    /// `EPERM`.
    Refuse,
    /// `ENOSYS`.
    Unknown,
    /// `clone`: allowed unless it asks for a namespace, else `EPERM`.
    CloneWithoutNamespaces,
    /// `personality`: only to ask, or to set a plain one, else `EPERM`.
    PlainPersonality,
    /// `ioctl`: all but those that type into a terminal, which get `EPERM`.
    SafeIoctl,
    /// `socket`: local, IPv4 and IPv6, and netlink for routes, else `EAFNOSUPPORT`.
    Socket,
    /// `socketpair`: local only, else `EAFNOSUPPORT`.
    SocketPair,
}

/// Every `CLONE_NEW*` flag that the old `clone` call can carry.
pub(super) const NAMESPACE_FLAGS: u32 = 0x7E02_0000;

/// Linux, 32-bit Linux, each with and without the 2.6 version string, and the question "which".
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// `TIOCSTI` and `TIOCLINUX` put characters into a terminal's input.
pub(super) const IOCTLS_REFUSED: [u32; 2] = [0x5412, 0x541C];

pub(super) const AF_UNIX: u32 = 1;
pub(super) const AF_INET: u32 = 2;
pub(super) const AF_INET6: u32 = 10;
pub(super) const AF_NETLINK: u32 = 16;
pub(super) const NETLINK_ROUTE: u32 = 0;

/// Calls newer than the names the `libc` crate has for this target.
const SYS_CACHESTAT: c_long = 451;
const SYS_MAP_SHADOW_STACK: c_long = 453;
const SYS_FUTEX_WAKE: c_long = 454;
const SYS_FUTEX_WAIT: c_long = 455;
const SYS_FUTEX_REQUEUE: c_long = 456;
const SYS_SETXATTRAT: c_long = 463;
const SYS_GETXATTRAT: c_long = 464;
const SYS_LISTXATTRAT: c_long = 465;
const SYS_REMOVEXATTRAT: c_long = 466;
const SYS_OPEN_TREE_ATTR: c_long = 467;

/// Calls that go to the kernel whatever their arguments.
#[rustfmt::skip] // One name a line would bury the two lists that matter for review.
const ALLOWED: &[c_long] = &[
    SYS_read, SYS_write, SYS_open, SYS_close, SYS_stat, SYS_fstat, SYS_lstat, SYS_poll, SYS_lseek,
    SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_access, SYS_pipe,
    SYS_select, SYS_sched_yield, SYS_mremap, SYS_msync, SYS_mincore, SYS_madvise, SYS_shmget,
    SYS_shmat, SYS_shmctl, SYS_dup, SYS_dup2, SYS_pause, SYS_nanosleep, SYS_getitimer, SYS_alarm,
    SYS_setitimer, SYS_getpid, SYS_sendfile, SYS_connect, SYS_accept, SYS_sendto, SYS_recvfrom,
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_bind, SYS_listen, SYS_getsockname,
    SYS_getpeername, SYS_setsockopt, SYS_getsockopt, SYS_fork, SYS_vfork, SYS_execve, SYS_exit,
    SYS_wait4, SYS_kill, SYS_uname, SYS_semget, SYS_semop, SYS_semctl, SYS_shmdt, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_fcntl, SYS_flock, SYS_fsync, SYS_fdatasync,
    SYS_truncate, SYS_ftruncate, SYS_getdents, SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_rename,
    SYS_mkdir, SYS_rmdir, SYS_creat, SYS_link, SYS_unlink, SYS_symlink, SYS_readlink, SYS_chmod,
    SYS_fchmod, SYS_chown, SYS_fchown, SYS_lchown, SYS_umask, SYS_gettimeofday, SYS_getrlimit,
    SYS_getrusage, SYS_sysinfo, SYS_times, SYS_ptrace, SYS_getuid, SYS_getgid, SYS_setuid,
    SYS_setgid, SYS_geteuid, SYS_getegid, SYS_setpgid, SYS_getppid, SYS_getpgrp, SYS_setsid,
    SYS_setreuid, SYS_setregid, SYS_getgroups, SYS_setgroups, SYS_setresuid, SYS_getresuid,
    SYS_setresgid, SYS_getresgid, SYS_getpgid, SYS_setfsuid, SYS_setfsgid, SYS_getsid, SYS_capget,
    SYS_capset, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo, SYS_rt_sigsuspend,
    SYS_sigaltstack, SYS_utime, SYS_mknod, SYS_statfs, SYS_fstatfs, SYS_getpriority,
    SYS_setpriority, SYS_sched_setparam, SYS_sched_getparam, SYS_sched_setscheduler,
    SYS_sched_getscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_rr_get_interval, SYS_mlock, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_prctl,
    SYS_arch_prctl, SYS_adjtimex, SYS_setrlimit, SYS_sync, SYS_gettid, SYS_readahead,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr,
    SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr,
    SYS_fremovexattr, SYS_tkill, SYS_time, SYS_futex, SYS_sched_setaffinity,
    SYS_sched_getaffinity, SYS_io_setup, SYS_io_destroy, SYS_io_getevents, SYS_io_submit,
    SYS_io_cancel, SYS_epoll_create, SYS_remap_file_pages, SYS_getdents64, SYS_set_tid_address,
    SYS_restart_syscall, SYS_semtimedop, SYS_fadvise64, SYS_timer_create, SYS_timer_settime,
    SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete, SYS_clock_gettime,
    SYS_clock_getres, SYS_clock_nanosleep, SYS_exit_group, SYS_epoll_wait, SYS_epoll_ctl,
    SYS_tgkill, SYS_utimes, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive,
    SYS_mq_notify, SYS_mq_getsetattr, SYS_waitid, SYS_ioprio_set, SYS_ioprio_get,
    SYS_inotify_init, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_openat, SYS_mkdirat,
    SYS_mknodat, SYS_fchownat, SYS_futimesat, SYS_newfstatat, SYS_unlinkat, SYS_renameat,
    SYS_linkat, SYS_symlinkat, SYS_readlinkat, SYS_fchmodat, SYS_faccessat, SYS_pselect6,
    SYS_ppoll, SYS_set_robust_list, SYS_get_robust_list, SYS_splice, SYS_tee,
    SYS_sync_file_range, SYS_vmsplice, SYS_utimensat, SYS_epoll_pwait, SYS_signalfd,
    SYS_timerfd_create, SYS_eventfd, SYS_fallocate, SYS_timerfd_settime, SYS_timerfd_gettime,
    SYS_accept4, SYS_signalfd4, SYS_eventfd2, SYS_epoll_create1, SYS_dup3, SYS_pipe2,
    SYS_inotify_init1, SYS_preadv, SYS_pwritev, SYS_rt_tgsigqueueinfo, SYS_recvmmsg,
    SYS_prlimit64, SYS_name_to_handle_at, SYS_syncfs, SYS_sendmmsg, SYS_getcpu,
    SYS_sched_setattr, SYS_sched_getattr, SYS_renameat2, SYS_seccomp, SYS_getrandom,
    SYS_memfd_create, SYS_execveat, SYS_membarrier, SYS_mlock2, SYS_copy_file_range, SYS_preadv2,
    SYS_pwritev2, SYS_pkey_mprotect, SYS_pkey_alloc, SYS_pkey_free, SYS_statx, SYS_rseq,
    SYS_pidfd_send_signal, SYS_pidfd_open, SYS_close_range, SYS_openat2, SYS_faccessat2,
    SYS_epoll_pwait2, SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self, SYS_memfd_secret, SYS_process_mrelease, SYS_futex_waitv,
    SYS_CACHESTAT, SYS_fchmodat2, SYS_MAP_SHADOW_STACK, SYS_FUTEX_WAKE, SYS_FUTEX_WAIT,
    SYS_FUTEX_REQUEUE, SYS_mseal, SYS_SETXATTRAT, SYS_GETXATTRAT, SYS_LISTXATTRAT,
    SYS_REMOVEXATTRAT,
];

/// Calls that a sandbox has no business with: mounts, namespaces, modules, keys, tracing of the
/// kernel, other processes' memory, the clock, and interfaces with a long record of holes.
#[rustfmt::skip] // As above.
const REFUSED: &[c_long] = &[
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_OPEN_TREE_ATTR,
    SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
    SYS_unshare, SYS_setns, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup,
    SYS_io_uring_enter, SYS_io_uring_register, SYS_open_by_handle_at, SYS_add_key,
    SYS_request_key, SYS_keyctl, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise,
    SYS_kcmp, SYS_pidfd_getfd, SYS_kexec_load, SYS_kexec_file_load, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_swapon, SYS_swapoff, SYS_reboot, SYS_acct,
    SYS_quotactl, SYS_quotactl_fd, SYS_syslog, SYS_settimeofday, SYS_clock_settime,
    SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_iopl, SYS_ioperm, SYS_vhangup,
    SYS_modify_ldt, SYS_get_mempolicy, SYS_set_mempolicy, SYS_mbind, SYS_migrate_pages,
    SYS_move_pages, SYS_set_mempolicy_home_node, SYS_fanotify_init, SYS_fanotify_mark,
    SYS_lookup_dcookie, SYS_nfsservctl, SYS_uselib, SYS_ustat, SYS_sysfs,
];

/// What happens to the call with this number.
pub fn verdict(number: u32) -> Verdict {
    let number = c_long::from(number);
    match number {
        libc::SYS_clone => Verdict::CloneWithoutNamespaces,
        libc::SYS_personality => Verdict::PlainPersonality,
        libc::SYS_ioctl => Verdict::SafeIoctl,
        libc::SYS_socket => Verdict::Socket,
        libc::SYS_socketpair => Verdict::SocketPair,
        // Its flags are in memory, where a filter cannot look: callers fall back to `clone`.
        libc::SYS_clone3 => Verdict::Unknown,
        allowed if ALLOWED.contains(&allowed) => Verdict::Allow,
        refused if REFUSED.contains(&refused) => Verdict::Refuse,
        _ => Verdict::Unknown,
    }
}
