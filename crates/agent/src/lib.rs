//! The guest agent: PID 1 of a sandbox, seen from the control plane as one byte stream.
//!
//! It runs commands, keeps what they print, ends all of what they started, serves files beneath a
//! root and dials ports. It knows no tenant, no quota and no secret, and it sets no sandbox up:
//! namespaces, mounts and privileges are in place before it starts. The binary beside this
//! library and the tests are its callers.
//!
//! ```text
//! main thread   reaps, keeps deadlines, ends kill domains          supervisor
//! accept        hands each connection to a thread of its own       listen
//! connection    reads frames, routes them to streams               connection → stream
//! exec          pumps one job's pipes or terminal                  exec::pump
//! task          one file operation, dialled port or watcher        task
//! ```
//!
//! Nothing here may panic on what a peer or a job does: the end of PID 1 is the end of the
//! sandbox.

mod agent;
mod connection;
mod console;
mod dial;
mod ended;
mod exec;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod hold;
mod link;
mod listen;
mod ring;
mod stream;
mod supervisor;
mod sys;
mod task;
mod wake;

pub use agent::{Agent, Holdings};
pub use connection::serve;
pub use listen::listen;
pub use supervisor::{prepare, supervise};
pub use sys::inherit;
