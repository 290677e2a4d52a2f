//! The server's log, on standard error.

use std::io;

use crate::config::{Config, LogFormat};

/// Starts to log. Called once, by `serve`; no other command logs.
pub fn start(config: &Config) {
    let builder =
        tracing_subscriber::fmt().with_max_level(config.log_level).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Pretty => builder.with_ansi(false).init(),
    }
}
