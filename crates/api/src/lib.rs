//! The REST contract: what travels between a client and the server, and under which paths.
//!
//! Only the wire: no domain rules, no I/O. The server converts to and from domain values at its
//! edge; clients in Rust use these types through the [`client`] (feature `client`). Names, types
//! and the order of keys are published and stay.
//!
//! Requests refuse unknown fields, and a field that is `null` counts as absent.

#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod event;
pub mod exec;
pub mod execs;
pub mod file;
pub mod paths;
pub mod provider;
pub mod sandbox;
pub mod system;

pub use error::ErrorBody;
pub use event::Event;
pub use exec::{Encoding, ExecExit, ExecLine, ExecRequest, ExecResult, TtySize, Usage};
pub use execs::{Exec, ExecInput, ExecOutput, Signal, SignalRequest, StdinTaken};
pub use file::{
    ArchiveFormat, ChmodRequest, CopyRequest, FileEvent, FileInfo, GrepLine, MkdirRequest,
    MoveRequest, Unpacked, WriteRequest, Written,
};
pub use provider::{Provider, ProviderDetail};
pub use sandbox::{
    Admission, ExtendRequest, PoolStatus, Pruned, QuotaSummary, Sandbox, SandboxError,
    SpawnRequest, Stats, Status,
};
pub use system::{Health, Readiness};
