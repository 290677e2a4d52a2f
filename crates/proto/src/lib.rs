//! The wire between the control plane and the guest agent: frames, messages, limits.
//!
//! Pure: no I/O and no async. The agent speaks it from inside a sandbox, `provider` speaks it on
//! the host; both treat what they read as hostile. Domain values are not here: `provider`
//! converts once, at its edge.
//!
//! One connection carries many streams. The host opens a stream with a [`Request`], the agent
//! answers with a [`Reply`], and bytes follow in either direction under credit:
//!
//! ```text
//! exec    open → reply started → data* → exit
//! wait    open → reply started → exit
//! watch   open → reply started → data* → exit
//! input   open → data* → end   → reply written
//! read    open → reply file    → data* → end
//! list    open → reply listing → data* (one JSON entry a line) → end
//! page    open → reply page    → data* (one JSON entry a line) → end
//! write   open → data* → end   → reply stored
//! pack    open → reply done    → data* → end
//! unpack  open → data* → end   → reply unpacked
//! dial    open → reply dialed  → data ⇄ data → end, end
//! other   open → reply
//! ```
//!
//! Either side ends a stream early with `reset`. A lost connection ends streams, not processes:
//! the host connects again and attaches by exec id and byte offset.

pub mod exec;
pub mod frame;
pub mod fs;
pub mod message;

pub use exec::{
    ExecExit, ExecInfo, ExecStart, Outcome, Program, StartFailure, Stdin, TtySize, Usage,
};
pub use frame::{FrameError, HEADER_LEN, Header, INITIAL_WINDOW, Kind, MAX_PAYLOAD};
pub use fs::{Entry, EntryKind, FileChange, FileEvent, Found, FsOp, Precondition, Stamp};
pub use message::{AgentConfig, GuestError, GuestErrorKind, Hello, Reply, Request};

/// The newest protocol generation that this build speaks.
///
/// A field may be added within a generation (readers ignore what they do not know); a change of
/// meaning needs a new one.
pub const GENERATION: u32 = 1;

/// The oldest generation that this build still understands.
pub const OLDEST_GENERATION: u32 = 1;
