//! The main thread: reaps every child and orphan, keeps the execs' deadlines, and ends kill
//! domains. It reads no pipe and writes to no connection, so a slow peer delays no deadline.
//! The binary runs it; pumps start processes through it.
//!
//! ```text
//! alive ──main ended──────────────► survivors ──empty──► (forgotten)
//!   │ deadline or cancel                │ cancel
//!   ▼                                   ▼
//! terminating ──grace over──► killing ──patience over──► abandoned ──empty──► (forgotten)
//!   └────────── empty ───────────┴──────────► (forgotten)
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::ended::Reaped;
use crate::exec::{Domain, Exec};
use crate::hold::hold;
use crate::sys::{self, ChildEnds, Launch};
use crate::wake::Wake;

/// How often a domain that was told to end is looked at. Its last process's end wakes the
/// supervisor anyway; this is for hosts that tell late.
const TERMINATING_LOOK: Duration = Duration::from_millis(20);

/// How often KILL is repeated, for processes that were being born when it was sent.
const KILLING_LOOK: Duration = Duration::from_millis(5);

/// How long processes may take to die of KILL before the exec is reported without them: one that
/// is stuck in the kernel must not hold the answer.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// How often processes that did not die are killed again.
const ABANDONED_LOOK: Duration = Duration::from_secs(1);

/// Watches over every process that execs started.
#[derive(Debug)]
pub struct Supervisor {
    table: Mutex<Table>,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Table {
    /// Execs by the id of their main process, until it is reaped; not those with a keeper.
    mains: BTreeMap<i32, Arc<Exec>>,
    watched: Vec<Watched>,
    /// When the supervisor wakes on its own.
    sleeps_until: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    exec: Arc<Exec>,
    domain: Domain,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Alive,
    Survivors,
    Terminating { kill_at: Instant },
    Killing { give_up_at: Instant },
    Abandoned,
}

impl Supervisor {
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { table: Mutex::default(), wake: Wake::new()? })
    }

    /// Starts an exec's main process and watches over it. The table is held from before the fork
    /// until the process is in it, so it cannot be reaped as a stranger.
    pub fn start(
        &self,
        exec: &Arc<Exec>,
        domain: Domain,
        child: (&Launch, &ChildEnds),
    ) -> Result<(), (Domain, Errno)> {
        let mut table = hold(&self.table);
        let pid = match sys::start(child.0, child.1) {
            Ok(pid) => pid,
            Err(error) => return Err((domain, error)),
        };
        let deadline = exec.main_started();
        let domain = domain.with_process(pid);
        let kept = match domain {
            Domain::Cgroup { .. } => {
                table.mains.insert(pid, Arc::clone(exec));
                false
            }
            Domain::Kept(_) => true,
        };
        table.watched.push(Watched { exec: Arc::clone(exec), domain, stage: Stage::Alive });
        let earlier = match (deadline, table.sleeps_until) {
            (Some(deadline), Some(until)) => deadline < until,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(table);
        // A keeper's pipe has to be among what the supervisor sleeps on.
        if earlier || kept {
            self.wake.ring();
        }
        Ok(())
    }

    /// Has the supervisor look at the execs' wishes.
    pub fn nudge(&self) {
        self.wake.ring();
    }

    /// Whether processes of that exec are watched.
    pub fn watches(&self, exec: &Arc<Exec>) -> bool {
        hold(&self.table).watched.iter().any(|watched| Arc::ptr_eq(&watched.exec, exec))
    }

    /// Sends a signal to an exec's process group, with a terminal to that in its foreground. The
    /// table is held, so the main process is not reaped meanwhile and its number is its own.
    pub fn signal(&self, exec: &Arc<Exec>, signal: i32) -> Result<(), Errno> {
        let mut table = hold(&self.table);
        let main = table.main_of(exec).ok_or(Errno::SRCH)?;
        match exec.foreground(main) {
            Some(group) if sys::kill_group(group, signal).is_ok() => Ok(()),
            // The group in the foreground has just ended.
            Some(_) | None => sys::kill_group(main, signal),
        }
    }

    fn reap_all(&self) {
        let mut table = hold(&self.table);
        while let Some(pid) = sys::next_zombie() {
            let Some(reaped) = sys::reap(pid) else { break };
            if let Some(exec) = table.mains.remove(&pid) {
                exec.main_ended(reaped);
            } else {
                table.watched.iter_mut().for_each(|watched| watched.lost_keeper(pid, reaped));
            }
        }
    }

    /// The pipes of keepers that have not said yet how their main process ended.
    fn keepers(&self) -> Vec<Arc<OwnedFd>> {
        hold(&self.table).watched.iter().filter_map(Watched::awaited_keeper).collect()
    }

    /// Moves every watched exec on; returns when to look again.
    fn step_all(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut table = hold(&self.table);
        let mut next: Option<Instant> = None;
        table.watched.retain_mut(|watched| match watched.step(now) {
            Next::Forget => false,
            Next::LookAgain(at) => {
                next = match (next, at) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
                true
            }
        });
        table.sleeps_until = next;
        next
    }
}

impl Table {
    /// The main process of an exec, if it is not reaped.
    fn main_of(&mut self, exec: &Arc<Exec>) -> Option<i32> {
        let same = |other: &Arc<Exec>| Arc::ptr_eq(other, exec);
        if let Some((pid, _)) = self.mains.iter().find(|(_, other)| same(other)) {
            return Some(*pid);
        }
        let watched = self.watched.iter_mut().find(|watched| same(&watched.exec))?;
        watched.hear_keeper();
        match &watched.domain {
            Domain::Kept(keeper) if !exec.main_has_ended() => keeper.main(),
            Domain::Kept(_) | Domain::Cgroup { .. } => None,
        }
    }
}

enum Next {
    Forget,
    LookAgain(Option<Instant>),
}

impl Watched {
    fn awaited_keeper(&self) -> Option<Arc<OwnedFd>> {
        match &self.domain {
            Domain::Kept(keeper) if !self.exec.main_has_ended() => Some(Arc::clone(&keeper.ended)),
            Domain::Kept(_) | Domain::Cgroup { .. } => None,
        }
    }

    /// Hears what the keeper has to say.
    fn hear_keeper(&mut self) {
        if let Domain::Kept(keeper) = &mut self.domain
            && !self.exec.main_has_ended()
            && let Some(reaped) = keeper.hear()
        {
            self.exec.main_ended(reaped);
        }
    }

    /// Notes the end of process `pid`, if that was the keeper.
    fn lost_keeper(&mut self, pid: i32, reaped: Reaped) {
        self.hear_keeper();
        if let Domain::Kept(keeper) = &mut self.domain
            && keeper.pid == pid
        {
            keeper.gone = true;
            // It was ended before it could tell: its own end is all that is known.
            if !self.exec.main_has_ended() {
                self.exec.main_ended(reaped);
            }
        }
    }

    fn step(&mut self, now: Instant) -> Next {
        self.hear_keeper();
        match self.stage {
            Stage::Alive if self.exec.main_has_ended() => {
                self.stage = Stage::Survivors;
                self.step(now)
            }
            Stage::Alive => {
                if self.exec.decide_stop(now) {
                    return self.terminate(now);
                }
                Next::LookAgain(self.exec.deadline())
            }
            Stage::Survivors => {
                if self.domain.remove_if_empty() {
                    self.exec.domain_ended();
                    return Next::Forget;
                }
                if self.exec.decide_stop(now) {
                    return self.terminate(now);
                }
                Next::LookAgain(None)
            }
            Stage::Terminating { .. } | Stage::Killing { .. } | Stage::Abandoned
                if self.domain.remove_if_empty() =>
            {
                self.exec.domain_ended();
                Next::Forget
            }
            Stage::Terminating { kill_at } if now < kill_at => {
                Next::LookAgain(Some(kill_at.min(now + TERMINATING_LOOK)))
            }
            Stage::Terminating { .. } => {
                self.domain.kill();
                self.stage = Stage::Killing { give_up_at: now + KILL_PATIENCE };
                Next::LookAgain(Some(now + KILLING_LOOK))
            }
            Stage::Killing { give_up_at } if now < give_up_at => {
                self.domain.kill();
                Next::LookAgain(Some(now + KILLING_LOOK))
            }
            Stage::Killing { .. } => {
                self.exec.domain_ended();
                self.stage = Stage::Abandoned;
                Next::LookAgain(Some(now + ABANDONED_LOOK))
            }
            Stage::Abandoned => {
                self.domain.kill();
                Next::LookAgain(Some(now + ABANDONED_LOOK))
            }
        }
    }

    fn terminate(&mut self, now: Instant) -> Next {
        let grace = self.exec.grace();
        if !grace.is_zero() {
            self.domain.terminate();
        }
        self.stage = Stage::Terminating { kill_at: now + grace };
        self.step(now)
    }
}

/// Gets the process ready to be an init: call it before any thread is started.
///
/// # Errors
/// When the kernel refuses the signal descriptor.
pub fn prepare() -> Result<OwnedFd, Errno> {
    use rustix::process::{DumpableBehavior, Resource, getrlimit, setrlimit};

    sys::tune_allocator();
    // Started from a descriptor, it would be called by that descriptor's number.
    rustix::thread::set_name(c"stacyvm-agent")?;
    // Not dumpable: a job cannot trace the agent or look into its descriptors and memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // New files get the mode that is asked for, whatever the agent's parent had set.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    if !rustix::process::getpid().is_init() {
        // Orphans come to process 1 by themselves, to any other process only on request.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = setrlimit(Resource::Nofile, files);
    sys::child_signals()
}

/// Supervises for ever; `signals` comes from [`prepare`]. Call it on the main thread.
///
/// # Errors
/// None at present: the loop does not end.
pub fn supervise(
    agent: &Arc<Agent>,
    signals: &OwnedFd,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let supervisor = &agent.supervisor;
    loop {
        let next = supervisor.step_all();
        let timeout = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let keepers = supervisor.keepers();
        let mut ready = vec![
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(supervisor.wake.as_fd(), PollFlags::IN),
        ];
        ready.extend(keepers.iter().map(|pipe| PollFd::new(pipe.as_ref(), PollFlags::IN)));
        let _ = poll(&mut ready, timeout.as_ref());
        supervisor.wake.clear();
        drain(signals);
        supervisor.reap_all();
    }
}

fn drain(signals: &OwnedFd) {
    let mut notices = [0; 512];
    while matches!(rustix::io::read(signals, &mut notices), Ok(count) if count > 0) {}
}

/// A duration as poll takes it, rounded up to the next microsecond so that a deadline has passed
/// when the poll ends.
pub fn timespec(duration: Duration) -> Timespec {
    let duration = duration + Duration::from_micros(1);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
