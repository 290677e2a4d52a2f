//! Sandboxes from Linux namespaces: the embedded default, with no daemon and no set-up.
//!
//! The driver decides what a sandbox is made of; `stacyvm-jail`, a small process of its own and
//! the only privileged part, makes it. Both that helper and the agent are static programs that
//! this crate carries. Nothing here knows callers, quotas or the store.

mod create;
mod handle;
mod helper;
mod image;
mod options;
mod provider_impl;

pub use options::NativeOptions;
pub use provider_impl::{NAME, NativeProvider};
