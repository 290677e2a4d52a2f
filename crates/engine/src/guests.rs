//! Connections to the agents of sandboxes, kept for as long as they stand. Each belongs to one
//! incarnation, so a call never reaches a runtime that replaced the one it was meant for.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use model::{Failure, Reason, Sandbox, SandboxName};
use provider::{Guest, RuntimeHandle};

use crate::plane::{Plane, locked};
use crate::refuse::not_running;

/// A connection that is there or on its way; everybody who needs it waits for the same one.
type Connecting = Shared<BoxFuture<'static, Result<Arc<dyn Guest>, Failure>>>;

/// The connections by runtime.
#[derive(Default)]
pub(crate) struct Guests(HashMap<SandboxName, Connecting>);

impl Guests {
    /// Lets go of the connection to a runtime.
    pub(crate) fn forget(&mut self, name: &SandboxName) {
        self.0.remove(name);
    }

    /// The connection, unless it is known not to stand.
    fn standing(&self, name: &SandboxName) -> Option<Connecting> {
        let connecting = self.0.get(name)?;
        let usable = match connecting.peek() {
            None => true,
            Some(Ok(guest)) => guest.is_connected(),
            Some(Err(_)) => false,
        };
        usable.then(|| connecting.clone())
    }
}

impl Plane {
    /// A connection to the sandbox's agent. When there is none to be had, the sandbox is looked
    /// at, so that its row soon says what has become of it.
    pub(crate) async fn guest(self: &Arc<Self>, row: &Sandbox) -> Result<Arc<dyn Guest>, Failure> {
        let name = row.name();
        let connecting = {
            let mut guests = locked(&self.guests);
            if let Some(connecting) = guests.standing(&name) {
                connecting
            } else {
                let connecting = self.connecting(row)?;
                guests.0.insert(name, connecting.clone());
                connecting
            }
        };
        let connected = connecting.await;
        if connected.is_err() {
            self.suspect(row);
        }
        connected
    }

    /// Begins to connect to a runtime that was just made, so that its first caller need not wait.
    pub(crate) fn connect_early(&self, row: &Sandbox, handle: &RuntimeHandle) {
        let row = Sandbox { handle: Some(handle.0.clone()), ..row.clone() };
        let Ok(connecting) = self.connecting(&row) else { return };
        locked(&self.guests).0.insert(row.name(), connecting.clone());
        // Refused only when the engine ends. A connection that fails is made again on demand.
        let _ = self.tasks.spawn(async move { drop(connecting.await) });
    }

    fn connecting(&self, row: &Sandbox) -> Result<Connecting, Failure> {
        let provider = self.providers.get(&row.provider)?;
        let handle = row.handle.clone().ok_or_else(|| not_running(row))?;
        let name = row.name();
        let connect = async move { provider.connect(&name, &RuntimeHandle(handle)).await };
        Ok(connect.boxed().shared())
    }

    /// Looks at a sandbox that did not answer, without making its caller wait.
    pub(crate) fn suspect(self: &Arc<Self>, row: &Sandbox) {
        let (plane, row) = (self.clone(), row.clone());
        let look = async move {
            if let Err(failure) = plane.check(&row).await {
                tracing::warn!(sandbox = %row.id, error = %failure, "not checked");
            }
        };
        // Refused only when the engine ends, and then the next one looks.
        let _ = self.tasks.spawn(look);
    }
}

/// Whether a failure says that the connection is lost, so that another may do.
pub(crate) fn is_lost(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::SandboxUnreachable | Reason::ProviderUnavailable)
}
