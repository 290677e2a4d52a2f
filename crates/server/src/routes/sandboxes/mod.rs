//! Routes of sandboxes: making, seeing and ending them.

pub(crate) mod admission;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod extend;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod prune;
pub(crate) mod stats;
