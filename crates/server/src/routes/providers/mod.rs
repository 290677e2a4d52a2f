//! Routes of providers.

pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod test;
