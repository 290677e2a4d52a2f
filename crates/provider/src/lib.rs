//! The contract between the engine and the runtimes, and what every driver shares.
//!
//! A driver creates, lists, destroys and connects ([`Provider`]). Everything that happens inside
//! a sandbox goes through a [`Guest`], which is the same agent on every runtime
//! ([`AgentGuest`]). Layers wrap a provider once, at start-up. Nothing here knows callers,
//! quotas, the store or HTTP.

pub mod agent;
pub mod contract;
pub mod deadline;
pub mod guest;
pub mod memory;

pub use agent::AgentGuest;
pub use contract::{
    Capability, Provider, RuntimeEntry, RuntimeHandle, RuntimeSpec, RuntimeStatus, unsupported,
};
pub use deadline::{DeadlineLayer, Deadlines};
pub use guest::{
    ByteRange, ByteStream, Duplex, ExecEvent, ExecExit, ExecSession, ExecStatus, Guest, Offsets,
    WatchEvent, WatchStream, WriteOptions,
};
pub use memory::MemoryProvider;
