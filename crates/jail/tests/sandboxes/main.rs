//! The helper against a real kernel: needs root, cgroups and nothing else of the host.
//!
//! Each file tells one side of it: `isolation` what a sandbox sees and may do, `lifecycle` how it
//! comes and goes, `refusals` what the helper does not accept.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod isolation;
mod lifecycle;
mod refusals;
mod rig;
