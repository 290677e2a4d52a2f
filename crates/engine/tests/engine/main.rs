//! Tests of the engine from outside, on the in-memory provider: what callers are promised, one
//! file per promise, and a simulation of everything at once.

#![expect(clippy::unwrap_used, reason = "what a fixture cannot do fails its test")]

extern crate stacyvm_engine as engine;

mod background;
mod chaos;
mod exec;
mod lifecycle;
mod recovery;
mod simulation;
mod support;
