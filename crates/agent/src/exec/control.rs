//! What may be done to a running exec: ended with all that it started, sent a signal, given
//! another size of its terminal. `connection` calls the functions here.

use proto::{GuestErrorKind, Reply, TtySize};
use rustix::io::Errno;

use super::registry::error;
use super::{Exec, NO_SUCH_EXEC, terminal};
use crate::agent::Agent;
use crate::hold::hold;

/// The highest signal number.
const SIGNAL_MAX: i32 = 64;

/// Has everything end that the exec started.
pub fn cancel(agent: &Agent, id: &str) -> Reply {
    let Some(exec) = agent.execs.find(id) else {
        return error(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    if exec.exit().is_none() || agent.supervisor.watches(&exec) {
        exec.ask_cancel();
        agent.supervisor.nudge();
    }
    Reply::Done
}

/// Sends a signal to the exec's process group.
pub fn signal(agent: &Agent, id: &str, signal: i32) -> Reply {
    let Some(exec) = agent.execs.find(id) else {
        return error(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    if !(1..=SIGNAL_MAX).contains(&signal) {
        return error(GuestErrorKind::Invalid, "signal: not a number from 1 to 64");
    }
    match agent.supervisor.signal(&exec, signal) {
        Ok(()) => Reply::Done,
        Err(Errno::SRCH) => error(GuestErrorKind::NotRunning, "exec: it is not running"),
        Err(errno) => error(GuestErrorKind::PermissionDenied, &format!("signal: {errno}")),
    }
}

/// Sets the size of the exec's terminal.
pub fn resize(agent: &Agent, id: &str, size: TtySize) -> Reply {
    let Some(exec) = agent.execs.find(id) else {
        return error(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    let terminal = {
        let life = hold(&exec.life);
        life.terminal.clone().filter(|_| life.ended.is_none())
    };
    let Some(terminal) = terminal else {
        return error(GuestErrorKind::NotRunning, "exec: it has no terminal");
    };
    match terminal::resize(&terminal, size) {
        Ok(()) => Reply::Done,
        Err(errno) => error(GuestErrorKind::Internal, &format!("size: {errno}")),
    }
}

impl Exec {
    /// The process group in the foreground of the exec's terminal, of the session led by `main`.
    pub fn foreground(&self, main: i32) -> Option<i32> {
        let terminal = hold(&self.life).terminal.clone()?;
        terminal::foreground(&terminal, main)
    }
}
