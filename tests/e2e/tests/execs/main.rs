//! Programs in sandboxes, on the native provider behind a real server: each test is written from a
//! public report of a system that got it wrong, or from a promise of `docs/contracts.md`.

mod background;
mod limits;
mod output;
mod proxies;
mod readers;
mod restarts;
mod stage;
#[expect(dead_code, reason = "each test program uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod terminals;
mod timeouts;
