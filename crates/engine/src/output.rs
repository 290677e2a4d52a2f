//! The output of a program that was started before, for any number of readers: what is still
//! kept, then what comes. The program is never held back by them.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use model::{ExecId, Failure, Outcome, Sandbox, SandboxId};
use provider::{ExecExit, Offsets, WatchEvent, WatchStream};

use crate::execs::Which;
use crate::follow::nothing;
use crate::guests::is_lost;
use crate::plane::{Plane, locked};

/// How often a lost connection is made again before the reader is told.
const TRIES: u32 = 5;

/// The wait before the second try; it doubles with each.
const TRY_WAIT: Duration = Duration::from_millis(50);

/// Which part of the output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputRange {
    /// The first bytes.
    pub from: Offsets,
    /// Whether to go on with what is written from now on, up to the program's end.
    pub follow: bool,
}

/// A reader of a program's output.
struct Reader {
    plane: Arc<Plane>,
    row: Sandbox,
    exec: ExecId,
    events: WatchStream,
    next: Offsets,
    /// Where to stop, for a reader that does not follow.
    until: Option<Offsets>,
}

impl Plane {
    /// The output of a program from the given bytes on. It ends with the program's exit, or, for
    /// a reader that does not follow, where the output ends now.
    pub(crate) async fn exec_output(
        self: &Arc<Self>,
        (id, exec): Which<'_>,
        range: OutputRange,
    ) -> Result<WatchStream, Failure> {
        let row = self.at_work(id).await?;
        let guest = self.guest(&row).await?;
        let until = if range.follow { None } else { self.written(&row, exec).await? };
        let events = guest.watch(exec, range.from).await?;
        let reader = Reader {
            plane: self.clone(),
            row,
            exec: exec.clone(),
            events,
            next: range.from,
            until,
        };
        let events = stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            let event = reader.event().await?;
            let over = matches!(event, Err(_) | Ok(WatchEvent::Exit(_)));
            Some((event, (!over).then_some(reader)))
        });
        Ok(events.boxed())
    }

    /// How much a program that still runs has written; `None` for one that has ended, whose
    /// output ends by itself.
    async fn written(
        self: &Arc<Self>,
        row: &Sandbox,
        exec: &ExecId,
    ) -> Result<Option<Offsets>, Failure> {
        let execs = self.guest(row).await?.execs().await?;
        let status = execs.into_iter().find(|status| status.id == *exec);
        Ok(status.filter(|status| status.exit.is_none()).map(|status| status.written))
    }

    /// Whether a sandbox is still the one that a reader began with.
    async fn still_runs(&self, id: &SandboxId) -> bool {
        self.row(id).await.is_ok_and(|row| row.phase.takes_work())
    }
}

impl Reader {
    /// The next event; nothing where a reader stops that does not follow.
    async fn event(&mut self) -> Option<Result<WatchEvent, Failure>> {
        loop {
            let stop = |until: Offsets| {
                self.next.stdout >= until.stdout && self.next.stderr >= until.stderr
            };
            if self.until.is_some_and(stop) {
                return None;
            }
            let event = tokio::select! {
                event = self.events.next() => event,
                () = self.plane.stop.cancelled() => {
                    return Some(Err(crate::refuse::shutting_down()));
                }
            };
            match event {
                Some(Err(failure)) if is_lost(&failure) => match self.again(failure).await {
                    Ok(true) => {}
                    Ok(false) => return Some(Ok(WatchEvent::Exit(self.lost()))),
                    Err(failure) => return Some(Err(failure)),
                },
                Some(Ok(event)) => {
                    self.took(&event);
                    return Some(Ok(event));
                }
                other => return other,
            }
        }
    }

    fn took(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Stdout { offset, bytes } => {
                self.next.stdout = offset.saturating_add(bytes.len() as u64);
            }
            WatchEvent::Stderr { offset, bytes } => {
                self.next.stderr = offset.saturating_add(bytes.len() as u64);
            }
            WatchEvent::Exit(_) => {}
        }
    }

    /// The end of a program whose sandbox has ended under it.
    fn lost(&self) -> ExecExit {
        let Offsets { stdout, stderr } = self.next;
        ExecExit { stdout_bytes: stdout, stderr_bytes: stderr, ..nothing(Outcome::SandboxLost) }
    }

    /// Goes on over a new connection; false when the sandbox has ended.
    async fn again(&mut self, mut failure: Failure) -> Result<bool, Failure> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(TRY_WAIT * (1 << attempt)).await;
            }
            locked(&self.plane.guests).forget(&self.row.name());
            if !self.plane.still_runs(&self.row.id).await {
                return Ok(false);
            }
            let watched = match self.plane.guest(&self.row).await {
                Ok(guest) => guest.watch(&self.exec, self.next).await,
                Err(failure) => Err(failure),
            };
            match watched {
                Ok(events) => {
                    self.events = events;
                    return Ok(true);
                }
                Err(lost) if is_lost(&lost) => failure = lost,
                Err(other) => return Err(other),
            }
        }
        Err(failure)
    }
}
