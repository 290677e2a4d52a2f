//! The pump: one thread for each exec that starts its process, carries its output to the ring,
//! the console and whoever follows, feeds its input, and reports its end. It ends no process and
//! keeps no deadline but that of the drain; the supervisor does.
//!
//! A follower without credit holds the job back: the pipe is not read until there is credit.
//! With no follower the pipe is drained into the ring, so that a detached job never blocks.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::{ExecExit, GuestErrorKind, Outcome, Reply, Usage};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};

use super::begin::{Begun, begin, report_failure};
use super::follow::{STARTED, announce};
use super::input::Feeder;
use super::launch::Job;
use super::replay::OUTPUT_KINDS;
use super::{Attachment, End, Exec, Stop};
use crate::agent::Agent;
use crate::console::LineCutter;
use crate::ended::Ended;
use crate::hold::hold;
use crate::stream::Stream;
use crate::supervisor::timespec;

/// Bytes read from a pipe at once: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// Bytes read at once from what survivors print: it is for the console only.
const SURVIVOR_READ_BYTES: usize = 4 * 1024;

/// How long a terminal may take to hand over what was written to it: its bytes pass through a
/// queue of the kernel that nobody can look into. Its end usually comes at once and says more.
const TERMINAL_PATIENCE: Duration = Duration::from_millis(100);

/// The exit code by which a shell reports that its last command died of KILL.
const SHELL_KILLED: i32 = 128 + libc::SIGKILL;

/// The whole life of one exec.
pub fn run(agent: &Arc<Agent>, exec: &Arc<Exec>, job: Job, stream: Arc<Stream>) {
    let oom_kills = agent.oom_kills();
    match begin(agent, exec, job) {
        Ok(Begun { outs, sink, slave }) => {
            agent.console.note(&format!("exec {} started", exec.id));
            // A lost connection is noticed when the pump looks at the stream.
            let _ = stream.reply(&STARTED);
            let follower = if exec.detached {
                exec.tell_exit(&stream);
                None
            } else {
                stream.wake_with(&exec.wake);
                Some(Follower { stream, sent: [0; 2] })
            };
            let pump = Pump {
                agent,
                exec,
                outs,
                ready: [false; 2],
                feeder: Feeder::new(sink, slave.is_some()),
                slave,
                follower,
                cutters: Default::default(),
                buffer: vec![0; READ_BYTES],
                drain: None,
                oom_kills,
            };
            pump.run();
        }
        Err(outcome) => report_failure(agent, exec, outcome, &stream),
    }
}

/// The stream that follows the exec, and how much of each output it has been sent.
struct Follower {
    stream: Arc<Stream>,
    sent: [u64; 2],
}

/// The wait for output after the end.
#[derive(Clone, Copy)]
struct Drain {
    end: End,
    until: Instant,
    /// Bytes that were in each pipe when the end was noticed: they are read whatever the time.
    owed: [u64; 2],
}

struct Pump<'a> {
    agent: &'a Arc<Agent>,
    exec: &'a Arc<Exec>,
    /// Standard output and standard error, until their end.
    outs: [Option<Arc<OwnedFd>>; 2],
    /// Which of them poll has reported readable.
    ready: [bool; 2],
    feeder: Feeder,
    /// See [`Begun::slave`].
    slave: Option<Arc<OwnedFd>>,
    follower: Option<Follower>,
    cutters: [LineCutter; 2],
    buffer: Vec<u8>,
    drain: Option<Drain>,
    oom_kills: Option<u64>,
}

impl Pump<'_> {
    fn run(mut self) {
        loop {
            self.exec.wake.clear();
            self.change_follower();
            self.feeder.feed(self.exec);
            self.send_backlog();
            self.read_outputs();
            self.notice_end();
            if self.drain.is_some_and(|drain| self.is_drained(&drain)) && self.conclude() {
                break;
            }
            self.sleep();
        }
        self.serve_survivors();
    }

    /// Lets a stream that asked to follow take the place of the one that does.
    fn change_follower(&mut self) {
        if self.follower.as_ref().is_some_and(|follower| follower.stream.is_gone()) {
            self.lose_follower();
        }
        while let Some(Attachment { stream, offsets }) = self.exec.take_waiting() {
            if let Some(old) = self.follower.take() {
                old.stream.reset(GuestErrorKind::Busy, "exec: another stream follows it now");
            }
            let Some(sent) = self.exec.first_offsets(offsets) else {
                stream.refuse(GuestErrorKind::Invalid, "offset: past the end of the output");
                self.exec.unfollow(stream.link_id());
                continue;
            };
            stream.wake_with(&self.exec.wake);
            let [stdout_offset, stderr_offset] = sent;
            if stream.reply(&Reply::Started { stdout_offset, stderr_offset }).is_ok() {
                self.follower = Some(Follower { stream, sent });
            }
        }
    }

    fn lose_follower(&mut self) {
        if let Some(follower) = self.follower.take() {
            self.exec.unfollow(follower.stream.link_id());
            follower.stream.close();
        }
    }

    /// Sends what the ring holds and the follower has not been sent, as far as it has credit.
    fn send_backlog(&mut self) {
        let mut chunk = Vec::new();
        for (index, kind) in OUTPUT_KINDS.into_iter().enumerate() {
            loop {
                let Some(follower) = &mut self.follower else { return };
                chunk.clear();
                let room = follower.stream.credit().min(READ_BYTES);
                let from = follower.sent[index];
                hold(&self.exec.rings)[index].copy_from(from, room, &mut chunk);
                if chunk.is_empty() {
                    break;
                }
                follower.sent[index] += chunk.len() as u64;
                if follower.stream.send_data(kind, &chunk).is_err() {
                    self.lose_follower();
                }
            }
        }
    }

    /// Bytes that may be read from an output now.
    fn readable_room(&self, index: usize) -> usize {
        match &self.follower {
            None => READ_BYTES,
            Some(follower) if follower.sent[index] == hold(&self.exec.rings)[index].end() => {
                follower.stream.credit().min(READ_BYTES)
            }
            Some(_) => 0,
        }
    }

    fn read_outputs(&mut self) {
        for (index, kind) in OUTPUT_KINDS.into_iter().enumerate() {
            let room = self.readable_room(index);
            if room == 0 || !std::mem::take(&mut self.ready[index]) {
                continue;
            }
            let Some(out) = &self.outs[index] else { continue };
            let count = match rustix::io::read(out, &mut self.buffer[..room]) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(_) => 0,
            };
            if count == 0 {
                self.outs[index] = None;
                continue;
            }
            if let Some(drain) = &mut self.drain {
                drain.owed[index] = drain.owed[index].saturating_sub(count as u64);
            }
            let data = &self.buffer[..count];
            hold(&self.exec.rings)[index].push(data);
            self.exec.wake_watchers();
            self.cutters[index].push(&self.agent.console, data);
            if let Some(follower) = &mut self.follower {
                follower.sent[index] += count as u64;
                if follower.stream.send_data(kind, data).is_err() {
                    self.lose_follower();
                }
            }
        }
    }

    /// Starts the drain once nothing but output is to be waited for.
    fn notice_end(&mut self) {
        // Somebody may cancel during the drain: then the wait is for the whole domain after all.
        let Some(end) = self.exec.end() else {
            self.drain = None;
            return;
        };
        if self.drain.is_some_and(|drain| drain.end.stop == end.stop) {
            return;
        }
        self.feeder.end(self.exec);
        self.slave = None;
        let patience = match end.stop {
            // Every process is gone, so nobody is left to print more.
            Some(_) => Duration::ZERO,
            None => self.exec.drain,
        };
        let terminal = self.feeder.is_terminal();
        let patience = if terminal { patience.max(TERMINAL_PATIENCE) } else { patience };
        let in_pipe = |out: &Option<Arc<OwnedFd>>| {
            out.as_ref().and_then(|out| ioctl_fionread(out).ok()).unwrap_or(0)
        };
        let owed = [in_pipe(&self.outs[0]), in_pipe(&self.outs[1])];
        let now = Instant::now();
        self.drain = Some(Drain { end, until: now.checked_add(patience).unwrap_or(now), owed });
    }

    fn is_drained(&self, drain: &Drain) -> bool {
        let all_sent = self.follower.as_ref().is_none_or(|follower| {
            let rings = hold(&self.exec.rings);
            follower.sent == [rings[0].end(), rings[1].end()]
        });
        let all_read = self.outs.iter().all(Option::is_none)
            || (drain.owed == [0, 0] && drain.until <= Instant::now());
        all_sent && all_read
    }

    /// Reports the end; false when somebody has to be served first.
    fn conclude(&mut self) -> bool {
        let Some(Drain { end, .. }) = self.drain else { return false };
        let (stdout_bytes, stderr_bytes) = {
            let rings = hold(&self.exec.rings);
            (rings[0].end(), rings[1].end())
        };
        let exit = ExecExit {
            outcome: self.outcome(&end),
            duration_us: u64::try_from(end.duration.as_micros()).unwrap_or(u64::MAX),
            stdout_bytes,
            stderr_bytes,
            usage: end.reaped.map_or_else(Usage::default, |reaped| Usage {
                cpu_us: reaped.cpu_us,
                memory_peak_bytes: reaped.memory_peak_bytes,
            }),
        };
        let Some(waiters) = self.exec.conclude(&exit) else { return false };
        self.hang_up();
        for cutter in &mut self.cutters {
            cutter.finish(&self.agent.console);
        }
        self.agent.console.note(&format!("exec {} {}", self.exec.id, in_words(&exit.outcome)));
        self.agent.execs.forget_oldest();
        if let Some(follower) = self.follower.take() {
            follower.stream.exit(&exit);
        }
        announce(&exit, &waiters);
        true
    }

    /// Lets go of the exec's terminal, if it has one: what the kernel tells the rest of its
    /// session, and that a survivor's reads and writes fail from now on, is as on any terminal.
    fn hang_up(&mut self) {
        self.exec.set_terminal(None);
        if self.feeder.is_terminal() {
            self.outs = [None, None];
        }
    }

    fn outcome(&self, end: &End) -> Outcome {
        let memory_ran_out =
            || self.oom_kills.zip(self.agent.oom_kills()).is_some_and(|(before, now)| now > before);
        match (end.stop, end.reaped.map(|reaped| reaped.status)) {
            (Some(Stop::TimedOut), _) => Outcome::TimedOut,
            (Some(Stop::Canceled), _) | (None, None) => Outcome::Canceled,
            (None, Some(Ended::Signaled(libc::SIGKILL) | Ended::Exited(SHELL_KILLED)))
                if memory_ran_out() =>
            {
                Outcome::OomKilled
            }
            (None, Some(Ended::Signaled(signal))) => Outcome::Signaled { signal },
            (None, Some(Ended::Exited(code))) => Outcome::Exited { code },
        }
    }

    fn sleep(&mut self) {
        let wanted = [0, 1].map(|index| self.readable_room(index) > 0);
        let mut slots = [None; 2];
        let mut polled = vec![PollFd::from_borrowed_fd(self.exec.wake.as_fd(), PollFlags::IN)];
        for index in [0, 1] {
            if let Some(out) = self.outs[index].as_ref().filter(|_| wanted[index]) {
                slots[index] = Some(polled.len());
                polled.push(PollFd::new(out, PollFlags::IN));
            }
        }
        let feeding = self.feeder.interest();
        let feeding_slot = feeding.is_some().then_some(polled.len());
        polled.extend(feeding);
        let now = Instant::now();
        // Past the drain's deadline only bytes or credit can move things on.
        let until = self.drain.map(|drain| drain.until).filter(|until| *until > now);
        let timeout = until.map(|until| timespec(until - now));
        let outcome = poll(&mut polled, timeout.as_ref());
        for index in [0, 1] {
            self.ready[index] = outcome.is_ok()
                && slots[index].is_some_and(|slot| !polled[slot].revents().is_empty());
        }
        let broken =
            feeding_slot.is_some_and(|slot| polled[slot].revents().contains(PollFlags::ERR));
        if outcome.is_ok() && broken {
            self.feeder.nobody_reads(self.exec);
        }
    }

    /// Goes on reading what surviving children print, so that they are not ended by a broken
    /// pipe. It goes to the console alone: the exec's own output is complete.
    fn serve_survivors(mut self) {
        self.feeder.finish();
        self.buffer = vec![0; SURVIVOR_READ_BYTES];
        while self.outs.iter().any(Option::is_some) {
            {
                let mut polled: Vec<_> =
                    self.outs.iter().flatten().map(|out| PollFd::new(out, PollFlags::IN)).collect();
                let _ = poll(&mut polled, None);
            }
            for (out, cutter) in self.outs.iter_mut().zip(&mut self.cutters) {
                let Some(fd) = out else { continue };
                match rustix::io::read(&**fd, &mut self.buffer) {
                    Ok(count) if count > 0 => {
                        cutter.push(&self.agent.console, &self.buffer[..count]);
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(_) | Err(_) => *out = None,
                }
            }
        }
        for cutter in &mut self.cutters {
            cutter.finish(&self.agent.console);
        }
    }
}

impl Agent {
    /// How many processes of the sandbox the kernel has ended for want of memory.
    fn oom_kills(&self) -> Option<u64> {
        let mut bytes = [0; 512];
        let count = rustix::io::pread(self.oom_counter.as_ref()?, &mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..count]).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

/// How a program ended, for the console.
fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited with code {code}"),
        Outcome::Signaled { signal } => format!("was ended by signal {signal}"),
        Outcome::TimedOut => "ran over its timeout".to_owned(),
        Outcome::OomKilled => "ran out of memory".to_owned(),
        Outcome::Canceled => "was canceled".to_owned(),
        Outcome::StartFailed { message, .. } => format!("did not start: {message}"),
    }
}
