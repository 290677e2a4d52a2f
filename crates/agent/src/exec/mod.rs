//! Execs: one record for each, and what the host can ask of them. The pump and the supervisor
//! meet in this record; neither knows the other. `connection` calls the functions here.

mod begin;
mod control;
mod domain;
mod follow;
mod input;
pub(crate) mod launch;
mod pump;
mod registry;
mod replay;
mod terminal;
mod user;
mod watch;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use proto::{ExecExit, ExecInfo, ExecStart, GuestErrorKind, Reply, Stdin};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::ended::Reaped;
use crate::hold::hold;
use crate::ring::Ring;
use crate::stream::Stream;
use crate::wake::Wake;

pub use control::{cancel, resize, signal};
pub use domain::Domain;
pub use follow::{attach, wait};
pub use input::input;
pub use registry::Registry;
pub use watch::{WATCHERS_MAX, watch};

/// The most output that is kept for one stream of one exec, whatever the host asks for.
const RING_MAX: u32 = 8 * 1024 * 1024;

/// Stack of a pump's thread and of a replay's: both work on heap buffers.
const PUMP_STACK: usize = 128 * 1024;

/// What is said of an id that no exec has.
const NO_SUCH_EXEC: &str = "exec_id: no such exec";

/// Why an exec was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    TimedOut,
    Canceled,
}

/// A stream that wants to follow an exec.
#[derive(Debug)]
struct Attachment {
    stream: Arc<Stream>,
    /// Bytes of each output stream that the host already has.
    offsets: [u64; 2],
}

/// One exec that the agent remembers.
#[derive(Debug)]
pub struct Exec {
    id: String,
    timeout: Option<Duration>,
    grace: Duration,
    drain: Duration,
    /// The connection that the exec ends with.
    ends_with: Option<u64>,
    /// Nobody follows it from the start.
    detached: bool,
    /// Wakes the pump.
    wake: Arc<Wake>,
    life: Mutex<Life>,
    inputs: input::Inputs,
    /// Those who are to be woken when there is output or the exit.
    watchers: Mutex<Vec<Arc<Wake>>>,
    /// Standard output, standard error.
    rings: Mutex<[Ring; 2]>,
}

#[derive(Debug, Default)]
struct Life {
    started: Option<Instant>,
    deadline: Option<Instant>,
    ended: Option<(Reaped, Instant)>,
    cancel_asked: bool,
    stop: Option<Stop>,
    /// No process of a stopped exec is left.
    domain_over: bool,
    /// The connection that follows the exec.
    followed_by: Option<u64>,
    waiting: Option<Attachment>,
    /// Streams that get the exit. Those that go away are not held here.
    waiters: Vec<Weak<Stream>>,
    /// The agent's end of the exec's terminal, while it has one.
    terminal: Option<Arc<OwnedFd>>,
    exit: Option<ExecExit>,
}

/// What the pump needs to know to report an end.
#[derive(Clone, Copy, Debug)]
struct End {
    reaped: Option<Reaped>,
    stop: Option<Stop>,
    duration: Duration,
}

impl Exec {
    fn new(start: &ExecStart, link: u64) -> Result<Self, Errno> {
        let ring = usize::try_from(start.ring_bytes.min(RING_MAX)).unwrap_or(0);
        let life = Life { followed_by: (!start.detached).then_some(link), ..Life::default() };
        Ok(Self {
            id: start.exec_id.clone(),
            timeout: start.timeout_ms.map(Duration::from_millis),
            grace: Duration::from_millis(start.grace_ms),
            drain: Duration::from_millis(start.drain_ms),
            ends_with: start.end_with_connection.then_some(link),
            detached: start.detached,
            wake: Arc::new(Wake::new()?),
            life: Mutex::new(life),
            inputs: input::Inputs::new(start.tty.is_some() || start.stdin == Stdin::Stream),
            watchers: Mutex::default(),
            rings: Mutex::new([Ring::new(ring), Ring::new(ring)]),
        })
    }

    /// Time between TERM and KILL.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Records that the main process exists; returns when the supervisor has to look at it.
    pub fn main_started(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut life = hold(&self.life);
        life.started = Some(now);
        // A timeout past what the clock can say is none.
        life.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
        if life.cancel_asked { Some(now) } else { life.deadline }
    }

    /// Records the end of the main process.
    pub fn main_ended(&self, reaped: Reaped) {
        hold(&self.life).ended = Some((reaped, Instant::now()));
        self.wake.ring();
    }

    pub fn main_has_ended(&self) -> bool {
        hold(&self.life).ended.is_some()
    }

    pub fn deadline(&self) -> Option<Instant> {
        hold(&self.life).deadline
    }

    /// Whether everything of the exec has to end now. Says yes once for each reason.
    pub fn decide_stop(&self, now: Instant) -> bool {
        let mut life = hold(&self.life);
        let overdue = life.ended.is_none() && life.deadline.is_some_and(|at| at <= now);
        let why = match (std::mem::take(&mut life.cancel_asked), overdue) {
            (true, _) => Stop::Canceled,
            (false, true) => Stop::TimedOut,
            (false, false) => return false,
        };
        // Once the exit is reported only survivors are left to end, and the outcome stands.
        if life.exit.is_none() && life.stop.is_none() {
            life.stop = Some(why);
        }
        true
    }

    /// Records that no process of the exec is left, or none that can be ended.
    pub fn domain_ended(&self) {
        hold(&self.life).domain_over = true;
        self.wake.ring();
    }

    /// The end, once nothing more is to be waited for but output.
    fn end(&self) -> Option<End> {
        let life = hold(&self.life);
        let over = match life.stop {
            Some(_) => life.domain_over,
            None => life.ended.is_some(),
        };
        let started = life.started?;
        let until = life.ended.map_or_else(Instant::now, |(_, at)| at);
        over.then(|| End {
            reaped: life.ended.map(|(reaped, _)| reaped),
            stop: life.stop,
            duration: until.saturating_duration_since(started),
        })
    }

    fn ask_cancel(&self) {
        hold(&self.life).cancel_asked = true;
    }

    fn exit(&self) -> Option<ExecExit> {
        hold(&self.life).exit.clone()
    }

    /// Takes the stream that wants to follow, if there is one.
    fn take_waiting(&self) -> Option<Attachment> {
        let mut life = hold(&self.life);
        let attachment = life.waiting.take()?;
        life.followed_by = Some(attachment.stream.link_id());
        Some(attachment)
    }

    /// Records that the connection follows no more.
    fn unfollow(&self, link: u64) {
        let mut life = hold(&self.life);
        if life.followed_by == Some(link) {
            life.followed_by = None;
        }
    }

    /// Whether the end of that connection is the end of the exec.
    fn ends_with(&self, link: u64) -> bool {
        let life = hold(&self.life);
        self.ends_with == Some(link)
            && life.exit.is_none()
            && life.waiting.as_ref().is_none_or(|waiting| waiting.stream.link_id() == link)
            && life.followed_by.is_none_or(|by| by == link)
    }

    fn set_terminal(&self, terminal: Option<Arc<OwnedFd>>) {
        hold(&self.life).terminal = terminal;
    }

    /// Sets the exit for good and returns who waits for it, unless somebody waits to follow: that
    /// stream is served first.
    fn conclude(&self, exit: &ExecExit) -> Option<Vec<Weak<Stream>>> {
        let mut life = hold(&self.life);
        if life.waiting.is_some() {
            return None;
        }
        life.exit = Some(exit.clone());
        let waiters = std::mem::take(&mut life.waiters);
        drop(life);
        self.wake_watchers();
        Some(waiters)
    }

    fn describe(&self) -> ExecInfo {
        // The exit first: with one, the rings do not change any more.
        let exit = self.exit();
        let rings = hold(&self.rings);
        ExecInfo {
            exec_id: self.id.clone(),
            exit,
            oldest: [rings[0].start(), rings[1].start()],
            written: [rings[0].end(), rings[1].end()],
        }
    }

    /// Bytes of output in memory.
    fn footprint(&self) -> usize {
        hold(&self.rings).iter().map(Ring::footprint).sum()
    }

    /// Gives the memory of the output back.
    fn discard_output(&self) {
        hold(&self.rings).iter_mut().for_each(Ring::discard);
    }
}

/// Starts an exec and has the stream follow it.
pub fn start(agent: &Arc<Agent>, start: &ExecStart, stream: &Arc<Stream>) {
    let job = match launch::prepare(&agent.config, agent.identity, start) {
        Ok(job) => job,
        Err(problem) => return stream.refuse(GuestErrorKind::Invalid, problem),
    };
    let exec = match agent.execs.reserve(start, stream.link_id()) {
        Ok(exec) => exec,
        Err(error) => return stream.finish(&Reply::Error(error)),
    };
    let thread = thread::Builder::new().name("exec".into()).stack_size(PUMP_STACK);
    let (for_pump, of_pump, its_stream) =
        (Arc::clone(agent), Arc::clone(&exec), Arc::clone(stream));
    if thread.spawn(move || pump::run(&for_pump, &of_pump, job, its_stream)).is_err() {
        // Others may wait for it already.
        begin::report_no_thread(agent, &exec, stream);
    }
}
