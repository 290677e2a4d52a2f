//! The privileged part of the native driver: namespaces, mounts, cgroups, seccomp, capabilities.
//!
//! The library holds the wire types, which the native driver speaks, and everything the helper
//! binary `stacyvm-jail` is made of. It knows nothing of tenants, images by name or REST. The
//! helper is one small single-threaded process, because cloning out of a large threaded one is slow
//! and unsafe, and because nothing else then needs to be root.

pub mod cgroup;
mod check;
mod claims;
pub mod client;
mod create;
mod destroy;
mod failure;
mod files;
pub mod helper;
mod host;
mod inside;
mod inventory;
mod key;
pub mod launch;
mod packet;
mod place;
mod probe;
mod remove;
mod rootfs;
pub mod seccomp;
mod sys;
pub mod wire;

pub use failure::Failure;
