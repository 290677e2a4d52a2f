//! Following an exec, which one stream does at a time, and waiting for its end, which any number
//! do. The pump serves both; watching is `watch`. `connection` calls the functions here.

use std::sync::{Arc, Weak};

use proto::{ExecExit, GuestErrorKind, Reply};

use super::{Attachment, Exec, NO_SUCH_EXEC, replay};
use crate::agent::Agent;
use crate::hold::hold;
use crate::stream::Stream;

/// The answer when none of the output follows, or all of it.
pub const STARTED: Reply = Reply::Started { stdout_offset: 0, stderr_offset: 0 };

/// Has the stream follow an exec from the given offsets on.
pub fn attach(agent: &Arc<Agent>, id: &str, offsets: [u64; 2], stream: Arc<Stream>) {
    let Some(exec) = agent.execs.find(id) else {
        return stream.refuse(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    let attachment = Attachment { stream, offsets };
    let exit = {
        let mut life = hold(&exec.life);
        let Some(exit) = life.exit.clone() else {
            let displaced = life.waiting.replace(attachment);
            drop(life);
            exec.wake.ring();
            if let Some(displaced) = displaced {
                let message = "exec: another stream follows it now";
                displaced.stream.reset(GuestErrorKind::Busy, message);
            }
            return;
        };
        exit
    };
    replay::start(exec, attachment, exit);
}

/// Has the stream get the exec's exit.
pub fn wait(agent: &Agent, id: &str, stream: &Arc<Stream>) {
    let Some(exec) = agent.execs.find(id) else {
        return stream.refuse(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    let _ = stream.reply(&STARTED);
    exec.tell_exit(stream);
}

impl Exec {
    /// Sends the exit now, or when there is one. A stream that goes away meanwhile is not kept:
    /// only its connection holds it.
    pub(super) fn tell_exit(&self, stream: &Arc<Stream>) {
        let exit = {
            let mut life = hold(&self.life);
            if life.exit.is_none() {
                life.waiters.retain(|waiter| waiter.strong_count() > 0);
                life.waiters.push(Arc::downgrade(stream));
            }
            life.exit.clone()
        };
        if let Some(exit) = exit {
            stream.exit(&exit);
        }
    }
}

/// Sends the exit to whoever waits for it.
pub fn announce(exit: &ExecExit, waiters: &[Weak<Stream>]) {
    waiters.iter().filter_map(Weak::upgrade).for_each(|stream| stream.exit(exit));
}
