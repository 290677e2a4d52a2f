//! Fixtures for end-to-end tests: the real binary as a server or a command, a proxy in front of
//! it, and a search for what it may have left on the host. Never part of the product.

mod proxy;
mod server;
mod traces;

pub use proxy::IdleProxy;
pub use server::{Command, Server, ServerOptions, binary};
pub use traces::traces;
