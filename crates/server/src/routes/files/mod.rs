//! Routes of files in a sandbox.

pub(crate) mod archive;
pub(crate) mod chmod;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod glob;
pub(crate) mod grep;
pub(crate) mod list;
pub(crate) mod mkdir;
pub(crate) mod read;
pub(crate) mod rename;
pub(crate) mod stat;
pub(crate) mod watch;
pub(crate) mod write;
