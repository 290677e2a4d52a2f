//! The server as its clients see it: a real one on a free port, over the in-memory provider.
//! One file per area of the surface.

#![expect(clippy::unwrap_used, reason = "what a fixture cannot do fails its test")]

mod archives;
mod auth;
mod connection;
mod errors;
mod events;
mod exec;
mod execs;
mod file_conditions;
mod file_search;
mod files;
mod openapi;
mod plane;
mod preview;
mod reasons;
mod sandboxes;
mod system;
