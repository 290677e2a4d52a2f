//! The routes about programs that may outlive the call that started them.

pub(crate) mod get;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod output;
pub(crate) mod resize;
pub(crate) mod signal;
pub(crate) mod stdin;
