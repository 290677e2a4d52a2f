//! The agent as its callers meet it: the real binary, spoken to over its socket. Not a test of
//! namespaces or mounts, which the agent finds in place.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod attack;
mod changes;
mod client;
mod exec;
mod files;
mod harness;
mod input;
mod kill;
mod paging;
mod search;
mod served;
mod signal;
mod tty;
mod user;
mod watch;
mod wire;
