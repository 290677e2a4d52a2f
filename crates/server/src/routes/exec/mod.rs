//! The routes that run programs.

pub(crate) mod run;
pub(crate) mod ws;
