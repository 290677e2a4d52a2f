//! The helper process: one thread, one loop over the control socket, ended children and workers.
//!
//! Creates run in the loop. A destroy kills in the loop and leaves the waiting and deleting to a
//! forked worker, so that a huge file tree delays nobody. When the control socket closes the helper
//! ends: at once and leaving sandboxes alone, or, for an ephemeral instance, after destroying them.
//! Called by `main` only; `destroy`, `create` and `inventory` do the work.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, WaitOptions};

use crate::failure::{Failure, InStep, invalid};
use crate::host::Host;
use crate::sys::{self, Side};
use crate::wire::{
    Answer, Call, Configure, ErrorKind, JailError, MESSAGE_BYTES_MAX, Reply, Request, Target,
};
use crate::{check, create, destroy, inventory, key, packet, probe};

/// Where the helper keeps its control socket and the agent's executable.
const CONTROL: i32 = 3;
/// See [`CONTROL`].
const AGENT: i32 = 4;

/// Destroys under way at once; more wait in the socket. Each is a process.
const WORKERS_MAX: usize = 32;

/// Limits that every sandbox starts with, because it inherits them: descriptors as programs expect
/// them, no core dumps into a writable layer, little locked memory.
const INHERITED: [(Resource, u64, u64); 3] = [
    (Resource::Nofile, 1024, 65_536),
    (Resource::Core, 0, 0),
    (Resource::Memlock, 64 * 1024, 8 * 1024 * 1024),
];

/// Runs the helper on the descriptors it was started with, until the control socket closes.
pub fn run() -> Result<(), Failure> {
    let (control, agent) = settle()?;
    let signals = sys::take_signals().step("take the signals")?;
    let mut helper = Helper {
        control,
        signals,
        agent: Some(agent),
        host: None,
        workers: Vec::new(),
        buffer: vec![0; MESSAGE_BYTES_MAX],
    };
    while helper.turn()? {}
    helper.finish()
}

/// Takes up the descriptors and makes the process small and quiet.
fn settle() -> Result<(OwnedFd, OwnedFd), Failure> {
    const STEP: &str = "take up the helper's descriptors";
    sys::place(rustix::stdio::stdin(), CONTROL).step(STEP)?;
    sys::place(rustix::stdio::stdout(), AGENT).step(STEP)?;
    {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).step(STEP)?;
        sys::place(&null, 0).step(STEP)?;
        sys::place(&null, 1).step(STEP)?;
    }
    sys::close_from(AGENT.unsigned_abs() + 1).step(STEP)?;
    sys::close_on_exec_from(CONTROL.unsigned_abs()).step(STEP)?;
    let descriptors = (sys::adopt(CONTROL).step(STEP)?, sys::adopt(AGENT).step(STEP)?);
    sys::name_process(c"stacyvm-jail");
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("make the helper private")?;
    // In the control plane's session a terminal could stop or end the helper half-way.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/").step("enter the root directory")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for (resource, current, maximum) in INHERITED {
        // Raising a ceiling needs a capability that even root may lack; lowering does not.
        let ceiling = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let reachable = maximum.min(ceiling);
        let wanted = Rlimit { current: Some(current), maximum: Some(maximum) };
        let fallback = Rlimit { current: Some(current.min(reachable)), maximum: Some(reachable) };
        rustix::process::setrlimit(resource, wanted)
            .or_else(|_| rustix::process::setrlimit(resource, fallback))
            .step("set the resource limits")?;
    }
    Ok(descriptors)
}

struct Helper {
    control: OwnedFd,
    signals: OwnedFd,
    agent: Option<OwnedFd>,
    host: Option<Host>,
    workers: Vec<Worker>,
    buffer: Vec<u8>,
}

/// A forked process that finishes a destroy.
struct Worker {
    target: Target,
    /// Requests that wait for it: repeats join the first.
    ids: Vec<u64>,
    outcome: OwnedFd,
}

impl Helper {
    /// Waits for something and deals with it; false when the control plane is gone.
    fn turn(&mut self) -> Result<bool, Failure> {
        let accepting =
            if self.workers.len() < WORKERS_MAX { PollFlags::IN } else { PollFlags::empty() };
        let mut polled =
            vec![PollFd::new(&self.control, accepting), PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(self.workers.iter().map(|one| PollFd::new(&one.outcome, PollFlags::IN)));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None)).step("wait")?;
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            self.reap();
        }
        // From the back, because finished ones are taken out.
        for index in (0..self.workers.len()).rev() {
            if ready[index + 2] {
                self.finish_worker(index);
            }
        }
        if ready[0] { self.receive() } else { Ok(true) }
    }

    fn reap(&self) {
        let mut drained = [0_u8; 1024];
        let _ = rustix::io::read(&self.signals, &mut drained);
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }

    fn receive(&mut self) -> Result<bool, Failure> {
        let length = match packet::receive(&self.control, &mut self.buffer) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
            Ok((length, _)) => length,
            Err(Errno::MSGSIZE) => {
                self.reply(0, Err(invalid("request", "is longer than a message may be")));
                return Ok(true);
            }
            Err(errno) => return Err(errno).step("read the control socket"),
        };
        match serde_json::from_slice::<Request>(&self.buffer[..length]) {
            Ok(Request { id, call: Call::Destroy(target) }) => self.begin_destroy(id, target),
            Ok(Request { id, call }) => {
                let result = self.answer(call);
                self.reply(id, result);
            }
            Err(error) => self.reply(0, Err(invalid("request", &error.to_string()))),
        }
        Ok(true)
    }

    /// Carries a call out that is answered at once.
    fn answer(&mut self, call: Call) -> Result<Answer, JailError> {
        match call {
            Call::Configure(configure) => self.configure(configure),
            Call::Create(spec) => {
                let busy = self.workers.iter().any(|worker| worker.target == spec.target);
                let host = self.configured()?;
                check::create(&spec, &host.state_dir)?;
                if busy {
                    let message = "create a sandbox that is being destroyed".to_owned();
                    return Err(JailError { kind: ErrorKind::Busy, message });
                }
                create::create(host, &spec).map(Answer::Created)
            }
            Call::Inspect(target) => {
                let host = self.configured()?;
                check::target(&target)?;
                Ok(Answer::Inspected(inventory::inspect(host, &target)?))
            }
            Call::List(from) => {
                let host = self.configured()?;
                from.after.as_ref().map_or(Ok(()), check::target)?;
                Ok(Answer::Listed(inventory::list(host, &from)?))
            }
            Call::Usage(target) => {
                let host = self.configured()?;
                check::target(&target)?;
                usage(host, &target)
            }
            Call::Probe => Ok(Answer::Probed(probe::probe(self.configured()?)?)),
            Call::Destroy(target) => {
                let host = self.configured()?;
                check::target(&target)?;
                destroy::destroy(host, &target)?;
                Ok(Answer::Destroyed)
            }
        }
    }

    fn configure(&mut self, configure: Configure) -> Result<Answer, JailError> {
        check::configure(&configure)?;
        if self.host.is_some() {
            return Err(invalid("call", "configure comes once"));
        }
        let agent = self.agent.as_ref().ok_or(Errno::BADF);
        let agent = agent.and_then(|agent| agent.try_clone().map_err(|_| Errno::MFILE));
        self.host = Some(Host::open(configure, agent.step("keep the agent")?)?);
        self.agent = None;
        Ok(Answer::Configured)
    }

    fn configured(&mut self) -> Result<&mut Host, JailError> {
        self.host.as_mut().ok_or_else(|| invalid("call", "configure must come first"))
    }

    fn begin_destroy(&mut self, id: u64, target: Target) {
        if let Err(error) = self.try_destroy(id, target) {
            self.reply(id, Err(error));
        }
    }

    fn try_destroy(&mut self, id: u64, target: Target) -> Result<(), JailError> {
        check::target(&target)?;
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.target == target) {
            worker.ids.push(id);
            return Ok(());
        }
        let host = self.configured()?;
        if inventory::inspect(host, &target)?.is_none() {
            self.reply(id, Ok(Answer::Destroyed));
            return Ok(());
        }
        destroy::kill(host, &target)?;
        let (outcome, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
        match sys::fork().step("fork a worker")? {
            Side::Child => work(host, &target, &report),
            Side::Parent(_) => self.workers.push(Worker { target, ids: vec![id], outcome }),
        }
        Ok(())
    }

    fn finish_worker(&mut self, index: usize) {
        let worker = self.workers.swap_remove(index);
        let result = read_outcome(&worker.outcome).map(|()| Answer::Destroyed);
        for id in worker.ids {
            self.reply(id, result.clone());
        }
    }

    fn reply(&self, id: u64, result: Result<Answer, JailError>) {
        let message = serde_json::to_vec(&Reply { id, result }).unwrap_or_default();
        // Whoever does not listen any more is noticed when the socket is read.
        let _ = packet::send(&self.control, &message, None);
    }

    /// After the control plane is gone.
    fn finish(mut self) -> Result<(), Failure> {
        let Some(host) = self.host.take() else { return Ok(()) };
        if host.ephemeral {
            for worker in &self.workers {
                // Already under way: wait, and let the sweep below do what it could not.
                let _ = read_outcome(&worker.outcome);
            }
            let targets = inventory::targets(&host)?;
            for target in &targets {
                destroy::kill(&host, target)?;
            }
            for target in &targets {
                destroy::destroy(&host, target)?;
            }
        }
        host.groups.remove_levels();
        Ok(())
    }
}

fn usage(host: &Host, target: &Target) -> Result<Answer, JailError> {
    match host.groups.usage(&key::key_of(target)) {
        Ok(usage) => Ok(Answer::Usage(usage)),
        Err(Errno::NOENT | Errno::NODEV) => {
            let message = "read the counters: there is no such sandbox".to_owned();
            Err(JailError { kind: ErrorKind::Absent, message })
        }
        Err(errno) => Err(errno).step("read the counters").map_err(JailError::from),
    }
}

/// The worker's life: finishes the destroy and says how it went.
fn work(host: &Host, target: &Target, report: &OwnedFd) -> ! {
    // A successor of this helper finds what is unfinished and must not have to share it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let outcome: Result<(), JailError> = destroy::destroy(host, target).map_err(JailError::from);
    let outcome = serde_json::to_vec(&outcome).unwrap_or_default();
    let _ = rustix::io::write(report, &outcome);
    sys::exit_now(0)
}

/// Waits for a worker's word; one that died without a word has failed.
fn read_outcome(outcome: &OwnedFd) -> Result<(), JailError> {
    const STEP: &str = "finish the destroy";
    // One write of less than a pipe's page arrives in one piece.
    let mut word = [0; 4096];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(outcome, &mut word)).step(STEP)?;
    match serde_json::from_slice(&word[..length]) {
        Ok(result) => result,
        Err(_) => Err(Errno::CHILD).step(STEP).map_err(JailError::from),
    }
}
