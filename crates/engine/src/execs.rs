//! Programs that were started before: their input. [`crate::exec`] starts them.

use std::sync::Arc;

use model::{ExecId, Failure, SandboxId};
use provider::ByteStream;

use crate::plane::Plane;

impl Plane {
    /// Writes to a program's standard input. Not tried again over another connection: a part of
    /// the bytes may have arrived.
    pub(crate) async fn exec_stdin(
        self: &Arc<Self>,
        (id, exec): (&SandboxId, &ExecId),
        body: ByteStream,
        close: bool,
    ) -> Result<u64, Failure> {
        let row = self.at_work(id).await?;
        self.guest(&row).await?.send_stdin(exec, body, close).await
    }
}
