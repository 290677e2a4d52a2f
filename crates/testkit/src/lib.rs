//! Fixtures for end-to-end tests: the real binary as a server or a command, and a search for what
//! it may have left on the host. Never part of the product.

mod server;
mod traces;

pub use server::{Command, Server, ServerOptions, binary};
pub use traces::traces;
