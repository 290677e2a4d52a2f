//! A command that gets this terminal, or standard input: what is typed goes to it, what it writes
//! comes back, and the terminal is as it was when it ends. `exec`, `run` and `shell` use it.

use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::thread;

use api::TtySize;
use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::{Interaction, Program};
use crate::failed::Failed;
use crate::follow;
use crate::plane::Plane;
use crate::talk::Talk;

/// What is read from standard input at once.
const READ_BYTES: usize = 64 * 1024;

/// Pieces of input between the reader and the command.
const PIECES: usize = 4;

/// The size of a terminal that does not tell its own.
const SIZE_DEFAULT: TtySize = TtySize { cols: 80, rows: 24 };

/// What of this terminal a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whether standard input is passed on.
    pub stdin: bool,
    /// The size of the terminal it gets, if any.
    pub tty: Option<TtySize>,
}

impl Wish {
    /// What the flags ask for; nothing if that is nothing.
    pub fn of(flags: Interaction, json: bool) -> Result<Option<Self>, Failed> {
        if json && (flags.interactive || flags.tty) {
            return Err(Failed::new("--json collects output, and a terminal shows it")
                .hint("leave out one of them"));
        }
        match (flags.interactive, flags.tty) {
            (false, false) => Ok(None),
            (true, false) => Ok(Some(Self { stdin: true, tty: None })),
            (false, true) => Ok(Some(Self { stdin: false, tty: Some(size()) })),
            (true, true) => Self::terminal().map(Some),
        }
    }

    /// All of it.
    pub fn terminal() -> Result<Self, Failed> {
        if !io::stdin().is_terminal() {
            return Err(Failed::new("standard input is no terminal")
                .hint("use -i alone to pass standard input on"));
        }
        Ok(Self { stdin: true, tty: Some(size()) })
    }
}

/// The size of this terminal.
fn size() -> TtySize {
    let told = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    match told {
        Ok(told) if told.ws_col > 0 && told.ws_row > 0 => {
            TtySize { cols: told.ws_col, rows: told.ws_row }
        }
        Ok(_) | Err(_) => SIZE_DEFAULT,
    }
}

/// Runs the command to its end and gives its exit code.
pub async fn session(
    plane: &Plane,
    id: &str,
    (program, wish): (&Program, Wish),
) -> Result<u8, Failed> {
    let failed = |error: io::Error| Failed::to("use the terminal", &error);
    let resized = signal(SignalKind::window_change()).map_err(failed)?;
    let (talk, chunks) = plane.talk(id, (program, wish)).await?;
    let raw = if wish.tty.is_some() && wish.stdin { Raw::enter().map_err(failed)? } else { None };
    let said = pass_on(talk, wish, resized);
    let code = tokio::select! {
        code = follow::live(chunks) => code,
        never = said => match never? {},
    };
    drop(raw);
    code
}

/// Passes on what is typed and how the terminal changes. Only a failure ends it: the command may
/// go on when there is no more input.
async fn pass_on(
    mut talk: Talk,
    wish: Wish,
    mut resized: Signal,
) -> Result<std::convert::Infallible, Failed> {
    let mut input = if wish.stdin { Some(read_input()) } else { None };
    loop {
        tokio::select! {
            piece = next(&mut input) => if let Some(bytes) = piece {
                talk.stdin(bytes).await?;
            } else {
                input = None;
                talk.close_stdin().await?;
            },
            _ = resized.recv(), if wish.tty.is_some() => talk.resize(size()).await?,
        }
    }
}

/// The next piece of input; never if there is none to come.
async fn next(input: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads standard input on a thread of its own, which nobody waits for: a read of a terminal ends
/// with the process, or never.
fn read_input() -> mpsc::Receiver<Bytes> {
    let (pieces, receiver) = mpsc::channel(PIECES);
    thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if pieces.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The terminal passes every key on; dropped, it is as it was.
struct Raw(Termios);

impl Raw {
    /// Nothing if standard input is no terminal.
    fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &self.0);
    }
}
