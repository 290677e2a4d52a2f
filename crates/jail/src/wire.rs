//! The closed set of requests the jail helper answers, and its replies.
//!
//! One JSON message is one packet of a `SOCK_SEQPACKET` socket pair; each request carries an id
//! that its reply repeats, because a slow `Destroy` is answered after requests that came later.
//! Nothing here acts: the helper checks every field (`check.rs`) before it believes any of them.
//! Used by the native driver (which sends) and by `helper` (which answers).
//!
//! How the helper is started: descriptor 0 is its end of the socket pair, descriptor 1 the agent's
//! executable (a sealed memfd), descriptor 2 receives what it has to say to people. See `launch`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of these messages; `Configure` of another generation is refused.
pub const GENERATION: u32 = 1;

/// The longest packet, either way. A `Create` with every list at its limit stays below it, and a
/// fixed buffer of this size is all that the helper ever reads into.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The longest name of an instance, a sandbox or a host (a host name label is 63 bytes, plus one).
pub const NAME_BYTES_MAX: usize = 64;

/// The longest path in a request; longer ones are cut off by the kernel anyway.
pub const PATH_BYTES_MAX: usize = 4095;

/// The most read-only layers of one image; images in use have fewer than a hundred.
pub const LAYERS_MAX: usize = 128;

/// The most extra read-only mounts of one image; `host` needs at most seven.
pub const BINDS_MAX: usize = 16;

/// The most arguments for the agent; it takes a handful of options.
pub const AGENT_ARGS_MAX: usize = 64;

/// The most bytes of all the agent's arguments together.
pub const AGENT_ARGS_BYTES_MAX: usize = 8 * 1024;

/// The most entries in one `Listed`, so that a page of the longest names fits one message.
pub const LIST_PAGE_MAX: usize = 256;

/// The smallest memory limit: below it the agent itself is killed.
pub const MEMORY_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The largest memory limit (16 TiB), so that sums of limits never overflow.
pub const MEMORY_BYTES_MAX: u64 = 1 << 44;

/// The smallest processor share, in thousandths of a core: the kernel's least quota.
pub const CPU_MILLIS_MIN: u64 = 10;

/// The largest processor share (1,024 cores).
pub const CPU_MILLIS_MAX: u64 = 1_024_000;

/// The fewest processes: the agent's threads and one command.
pub const PIDS_MIN: u64 = 8;

/// The most processes: the kernel's own ceiling on 64-bit machines.
pub const PIDS_MAX: u64 = 1 << 22;

/// One message to the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender and repeated in the reply; unique among those not yet answered.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// What the helper can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Must be the first message, once; anything else before it is refused.
    Configure(Configure),
    /// Makes a sandbox and starts the agent in it. Repeating it for a sandbox that is alive answers
    /// with that sandbox; what a broken-off attempt left is removed first.
    Create(CreateSpec),
    /// Ends and removes a sandbox. Answered when nothing of it is left; an absent one is fine.
    Destroy(Target),
    /// Looks at one sandbox.
    Inspect(Target),
    /// Lists what this instance has on the host, whole or half-made, in the order of its keys.
    List(ListFrom),
    /// Reads the resource counters of one sandbox.
    Usage(Target),
    /// Tells what the host offers and what is missing.
    Probe,
}

/// Who the helper works for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Must be [`GENERATION`].
    pub generation: u32,
    /// The control plane's own name, `[a-z0-9-]{1,64}`; part of every cgroup's path.
    pub instance: String,
    /// An existing directory of root's; sandboxes live in `sandboxes/` beneath it. One helper at a
    /// time may hold it: a second one is answered `Busy`.
    pub state_dir: PathBuf,
    /// True: when the socket closes, every sandbox of this instance is destroyed. False: sandboxes
    /// outlive the helper. Either way a writable layer does not outlive a restart of the host.
    pub ephemeral: bool,
}

/// One sandbox, or one life of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// `[a-z0-9-]{1,64}`.
    pub sandbox: String,
    /// Which life of the sandbox; part of the directory's and cgroup's name.
    pub incarnation: u32,
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSpec {
    /// The name to make it under.
    pub target: Target,
    /// The host name inside, `[a-z0-9-]{1,64}`.
    pub hostname: String,
    /// The root file system.
    pub image: ImageSpec,
    /// The resource limits.
    pub limits: Limits,
    /// The agent's arguments, its own name first.
    pub agent_argv: Vec<String>,
}

/// A root file system: read-only layers, a writable one on top, and read-only mounts of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Layers, topmost first, at least one. Directories beneath the state directory, reached
    /// without symbolic links; ids in them are shifted into the sandbox's own range.
    pub lower: Vec<PathBuf>,
    /// Directories of the host, mounted read-only, nosuid, nodev and with the host's ids (so files
    /// that only the host's root may read stay unreadable). Sources come from the closed list
    /// [`BIND_SOURCES`]; no target may lie in another.
    pub binds: Vec<Bind>,
}

/// The host directories that may be shown in a sandbox: programs and libraries, nothing private.
pub const BIND_SOURCES: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32"];

/// One read-only mount of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// One of [`BIND_SOURCES`]; must be a directory, not a symbolic link.
    pub source: PathBuf,
    /// Where it appears; made when absent. Symbolic links of the image are not followed.
    pub target: PathBuf,
}

/// Resource limits of one sandbox. Swap is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, page cache included.
    pub memory_bytes: u64,
    /// Thousandths of a core: 1000 is one whole core.
    pub cpu_millis: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Where a listing starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFrom {
    /// Only what sorts after this one; none for the first page.
    pub after: Option<Target>,
}

/// One message from the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The id of the request; 0 for a message that could not be read as a request.
    pub id: u64,
    /// What came of it.
    pub result: Result<Answer, JailError>,
}

/// The answers, one for each call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The helper is ready.
    Configured,
    /// The agent runs.
    Created(Created),
    /// Nothing of the sandbox is left.
    Destroyed,
    /// What there is of the sandbox, if anything.
    Inspected(Option<Entry>),
    /// One page of what there is.
    Listed(Listed),
    /// The counters.
    Usage(Usage),
    /// What the host offers.
    Probed(Probe),
}

/// A sandbox that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The process id of its first process as the host sees it. Information only: it may be reused
    /// once the sandbox is gone, so nothing may be signalled by it.
    pub pid: i32,
    /// The agent's listening socket on the host, valid until the sandbox is destroyed.
    pub socket: PathBuf,
}

/// One sandbox found on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which one.
    pub target: Target,
    /// Whether any process of it lives. False also for what a broken-off create or destroy left.
    pub alive: bool,
    /// The agent's socket, if the sandbox got that far.
    pub socket: Option<PathBuf>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// At most [`LIST_PAGE_MAX`], sorted by target.
    pub entries: Vec<Entry>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// Resource counters, zero where the host has no such counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time used since the start, in microseconds.
    pub cpu_usec: u64,
    /// Memory charged now, in bytes.
    pub memory_bytes: u64,
    /// The limit in force, in bytes.
    pub memory_limit_bytes: u64,
    /// The most memory ever charged, in bytes.
    pub memory_peak_bytes: u64,
    /// Processes and threads now.
    pub pids: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// Which cgroup hierarchies the host has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupLayout {
    /// Only version 1 hierarchies.
    V1,
    /// Only the unified hierarchy.
    V2,
    /// Version 1 hierarchies with the controllers and a unified one without them.
    Hybrid,
    /// None at all.
    Absent,
}

/// What the host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The cgroup hierarchies found.
    pub cgroup_layout: CgroupLayout,
    /// Controllers that can be used, by their kernel names (`cpu`, `memory`, `pids`, `freezer`).
    pub controllers: Vec<String>,
    /// Whether one write ends a whole cgroup at once.
    pub cgroup_kill: bool,
    /// What is missing; empty when sandboxes can be made.
    pub missing: Vec<Missing>,
}

/// Something the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What it is.
    pub feature: Feature,
    /// What is wrong, for people.
    pub problem: String,
    /// The exact setting, package or command that puts it right.
    pub fix: String,
}

/// What a sandbox needs of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The helper runs as the host's root.
    Root,
    /// The memory, cpu and pids controllers.
    CgroupControllers,
    /// User namespaces.
    UserNamespaces,
    /// The mount, pid, net, uts and ipc namespaces.
    Namespaces,
    /// Overlay file systems over layers with shifted ids.
    OverlayIdmapped,
    /// The state directory's file system can hold a writable layer.
    StateDirUpper,
    /// System call filters.
    Seccomp,
    /// A whole view of /proc, without which no new one can be mounted.
    ProcVisible,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct JailError {
    /// What to do about it.
    pub kind: ErrorKind,
    /// For people: completes "failed to ...".
    pub message: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is wrong; repeating it is useless.
    Invalid {
        /// The field, as a path: `limits.pids`.
        field: String,
    },
    /// The sandbox of this request does not exist.
    Absent,
    /// The disk is full, or its inodes are used up.
    NoSpace,
    /// A limit of the host is reached: processes, namespaces, id ranges, descriptors.
    Limit,
    /// The host cannot do it; `Probe` tells what is missing.
    Unsupported,
    /// The sandbox or the state directory is busy; a later repeat may succeed.
    Busy,
    /// Anything else.
    Internal,
}
