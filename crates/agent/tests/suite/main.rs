//! The agent as its callers meet it: the real binary, spoken to over its socket. Not a test of
//! namespaces or mounts, which the agent finds in place.

mod client;
mod exec;
mod harness;
