//! The privileged part of the native driver: namespaces, mounts, cgroups, seccomp, capabilities.
//!
//! The library holds the wire types, which the native driver speaks, and everything the helper
//! binary `stacyvm-jail` is made of. It knows nothing of tenants, images by name or REST. The
//! helper is one small single-threaded process, because cloning out of a large threaded one is slow
//! and unsafe, and because nothing else then needs to be root.

pub mod launch;
pub mod wire;
