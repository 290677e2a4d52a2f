//! A bar on standard error for what takes long. There is none when standard error is no terminal,
//! when little is copied, and with `--json`.

use std::io::IsTerminal as _;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A file below this size is copied before anybody reads a bar: 8 MiB.
const SHOWN_FROM_BYTES: u64 = 8 << 20;

/// How many bytes of how many were copied.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many bytes, or for as many as come.
    pub fn new(json: bool, bytes: Option<u64>) -> Self {
        let small = bytes.is_some_and(|bytes| bytes < SHOWN_FROM_BYTES);
        if json || small || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        let template = match bytes {
            Some(_) => "{bar:30} {bytes} of {total_bytes} {binary_bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// The stream, counted. The bar goes with its last owner.
    pub fn count<S, E>(self, stream: S) -> impl Stream<Item = Result<Bytes, E>> + Send
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        let bar = Cleared(self.0);
        stream.inspect(move |part| {
            if let Ok(bytes) = part {
                bar.0.inc(bytes.len() as u64);
            }
        })
    }
}

/// Takes the bar off the screen when the copy is over, however it ends.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
