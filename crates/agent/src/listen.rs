//! Accepting connections. Not speaking on them (that is `connection`). The binary starts it once.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::agent::Agent;
use crate::connection::serve;
use crate::task::Slots;

/// Connections at once: one control plane needs one, and a restarted one or a tool may join.
const CONNECTIONS_MAX: usize = 8;

/// Stack of a connection's thread: room for the deepest message that the JSON reader takes.
const CONNECTION_STACK: usize = 256 * 1024;

/// Stack of the accepting thread.
const ACCEPT_STACK: usize = 64 * 1024;

/// Pause after a failed accept: the causes (no descriptor, no memory) pass on their own.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves every connection to `listener`, each on a thread of its own, until the process ends.
///
/// # Errors
/// When the accepting thread cannot be started.
pub fn listen(agent: &Arc<Agent>, listener: OwnedFd) -> std::io::Result<()> {
    let agent = Arc::clone(agent);
    let thread = thread::Builder::new().name("accept".into()).stack_size(ACCEPT_STACK);
    thread.spawn(move || accept_all(&agent, &listener))?;
    Ok(())
}

fn accept_all(agent: &Arc<Agent>, listener: &OwnedFd) {
    let slots = Slots::new(CONNECTIONS_MAX);
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                // Over the limit the socket is dropped, which the peer sees as an end of stream.
                let Some(slot) = slots.take() else { continue };
                let agent = Arc::clone(agent);
                let thread =
                    thread::Builder::new().name("connection".into()).stack_size(CONNECTION_STACK);
                // A connection that gets no thread is dropped with the closure; the peer may retry.
                let _ = thread.spawn(move || {
                    serve(&agent, socket);
                    drop(slot);
                });
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}
