//! Every task that the engine starts, so that the engine can wait for all of them, or end all of
//! them.

use std::sync::{Mutex, PoisonError};

use model::Failure;
use tokio::task::{AbortHandle, JoinSet};

use crate::refuse::shutting_down;

/// Running tasks. Ended ones are forgotten whenever a new one is started.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tasks: JoinSet<()>,
    closed: bool,
}

impl Tasks {
    /// Starts a task; refused once the engine shuts down.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(shutting_down());
        }
        while let Some(ended) = state.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the engine ended by a panic");
            }
        }
        Ok(state.tasks.spawn(task))
    }

    /// Starts no more tasks and waits until all have ended.
    pub(crate) async fn finish(&self) {
        let mut tasks = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    /// Starts no more tasks and ends all where they stand, as a crash of the process would.
    pub(crate) fn abort(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.tasks.abort_all();
    }
}
