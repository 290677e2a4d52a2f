//! Domain values: what a sandbox, an exec, a file, an event and a failure are, and the state
//! machine of a sandbox.
//!
//! Pure: no I/O, no async, no wire format of the REST API or of the guest. A string from outside
//! becomes one of these types once, at the edge, and is never parsed again.

pub mod clock;
pub mod duration;
pub mod event;
pub mod exec;
pub mod failure;
pub mod file;
mod hint;
pub mod id;
pub mod limit;
pub mod phase;
pub mod reason;
pub mod sandbox;
pub mod search;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use duration::{DurationError, format_duration, parse_duration};
pub use event::{Event, EventKind};
pub use exec::{
    ExecEnd, ExecProgram, ExecRecord, ExecResult, ExecSpec, Outcome, Output, StartFailure, TtySize,
    Usage,
};
pub use failure::{Failure, Retry};
pub use file::{
    ArchiveLimits, ETag, FileInfo, FileKind, FileMode, FileOp, FilePage, FileReply, Precondition,
    SandboxPath, Stored, Unpacked,
};
pub use id::{ExecId, IdError, SandboxId};
pub use limit::Limit;
pub use phase::{Denied, Effect, EndReason, Input, Phase, Step};
pub use reason::{Code, Reason};
pub use sandbox::{Resources, Sandbox, SandboxName, Stats};
pub use search::{FileChange, FileEvent, Grep, GrepLine, GrepResult};
