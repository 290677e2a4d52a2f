//! Ctrl-C and SIGTERM: asked once, the process ends in order; asked twice, at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell adds to a signal's number in an exit code.
const SIGNAL_BASE: u8 = 128;

/// The signals that ask this process to end.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Catches the signals from now on.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one and gives the exit code that tells of it: 130 or 143.
    pub async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        let number = u8::try_from(kind.as_raw_value()).expect("both signals are below 16");
        SIGNAL_BASE + number
    }
}
