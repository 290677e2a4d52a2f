//! The control plane: makes sandboxes, runs programs in them, ends them, and puts right what a
//! crash left behind.
//!
//! The store is the truth, [`model::Phase::step`] decides, and [`drive`] alone makes and removes
//! runtimes, on request and after a crash alike. Nothing here knows HTTP, the name of a driver or
//! SQL. The server and the command line call [`Engine`].

mod admission;
mod chronicle;
mod drive;
mod engine;
mod exec;
mod execs;
mod feed;
mod files;
mod follow;
mod guests;
mod journal;
mod limits;
mod op;
mod options;
mod output;
mod plane;
mod providers;
mod reap;
mod reconcile;
mod refuse;
mod request;
mod spawn;
mod tasks;
mod validate;

pub use admission::Admission;
pub use engine::Engine;
pub use exec::RunningExec;
pub use files::StatsSample;
pub use options::EngineOptions;
pub use output::OutputRange;
pub use provider::{
    ByteRange, ByteStream, Duplex, ExecEvent, ExecExit, Offsets, WatchEvent, WatchStream,
    WriteOptions,
};
pub use providers::ProviderReport;
pub use reconcile::Reconciled;
pub use request::{Caller, IdempotencyKey, ListFilter, NewExec, NewSandbox};
