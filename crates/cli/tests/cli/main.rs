//! The program from the outside. What needs the native provider is in the end-to-end tests.

mod clients;
mod serve;
mod served;
