//! The route that runs programs.

pub(crate) mod run;
