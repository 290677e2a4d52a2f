//! Standard input. Requests to write wait in a queue in the exec's record; the pump's feeder
//! writes them to the job one after the other and answers each. A sender is granted more only as
//! the job takes what came before, so input that nobody reads costs bounded memory.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::{GuestErrorKind, Reply};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::{Exec, NO_SUCH_EXEC};
use crate::agent::Agent;
use crate::hold::hold;
use crate::stream::{Inbound, Stream};

/// Requests to write that may wait at once: senders that do not wait for each other's answer, and
/// a bound on the windows that they have been granted.
const INPUTS_MAX: usize = 64;

/// Steps in a row before the pump looks at the job's output: a job that takes input as fast as it
/// comes must not starve who reads what it says of it.
const STEPS_MAX: usize = 16;

/// What a terminal in its usual mode takes for the end of input (`VEOF`, Ctrl-D).
const END_OF_INPUT: u8 = 4;

/// How long the end of a request may take to arrive after the end of its job, when the job has
/// taken all that came before: whoever types `exit` is not told that nobody was there.
const PARTING_PATIENCE: Duration = Duration::from_secs(1);

/// A request to write.
#[derive(Debug)]
struct Input {
    stream: Arc<Stream>,
    /// The end of these bytes is the end of the input.
    close: bool,
}

/// Whether requests to write are taken.
#[derive(Clone, Copy, Debug)]
enum Taking {
    Yes,
    /// The job has no input, or none any more.
    Closed,
    /// The exec has ended.
    Over,
}

impl Taking {
    const fn refusal(self) -> Option<(GuestErrorKind, &'static str)> {
        match self {
            Self::Yes => None,
            Self::Closed => Some((GuestErrorKind::InputClosed, "exec: it takes no input")),
            Self::Over => Some((GuestErrorKind::NotRunning, "exec: it has ended")),
        }
    }
}

#[derive(Debug)]
struct Queue {
    taking: Taking,
    waiting: VecDeque<Input>,
    /// One has been taken up, and counts with those that wait.
    serving: bool,
}

/// The requests that wait.
#[derive(Debug)]
pub struct Inputs(Mutex<Queue>);

impl Inputs {
    pub fn new(open: bool) -> Self {
        let taking = if open { Taking::Yes } else { Taking::Closed };
        Self(Mutex::new(Queue { taking, waiting: VecDeque::new(), serving: false }))
    }

    fn push(&self, input: Input) -> Result<(), (GuestErrorKind, &'static str)> {
        let mut queue = hold(&self.0);
        if let Some(refusal) = queue.taking.refusal() {
            return Err(refusal);
        }
        queue.waiting.retain(|input| !input.stream.is_gone());
        if queue.waiting.len() + usize::from(queue.serving) >= INPUTS_MAX {
            return Err((GuestErrorKind::Limit, "input: too many requests to write wait"));
        }
        queue.waiting.push_back(input);
        Ok(())
    }

    fn next(&self) -> Option<Input> {
        let mut queue = hold(&self.0);
        let next = queue.waiting.pop_front();
        queue.serving = next.is_some();
        next
    }

    fn shut(&self, taking: Taking) -> VecDeque<Input> {
        let mut queue = hold(&self.0);
        if !matches!(queue.taking, Taking::Over) {
            queue.taking = taking;
        }
        std::mem::take(&mut queue.waiting)
    }

    /// Refuses all that waits and all that comes: the exec has ended.
    pub fn end(&self) {
        refuse(self.shut(Taking::Over), Taking::Over);
    }
}

fn refuse(inputs: impl IntoIterator<Item = Input>, why: Taking) {
    for input in inputs {
        if let Some((kind, message)) = why.refusal() {
            input.stream.refuse(kind, message);
        }
    }
}

/// Has the stream's bytes written behind those of earlier requests.
pub fn input(agent: &Agent, id: &str, close: bool, stream: &Arc<Stream>) {
    let Some(exec) = agent.execs.find(id) else {
        return stream.refuse(GuestErrorKind::NoSuchExec, NO_SUCH_EXEC);
    };
    match exec.inputs.push(Input { stream: Arc::clone(stream), close }) {
        Ok(()) => stream.wake_with(&exec.wake),
        Err((kind, message)) => stream.refuse(kind, message),
    }
}

/// Writes input to the job.
#[derive(Debug)]
pub struct Feeder {
    /// The job's pipe or terminal, until the end of the input.
    sink: Option<Arc<OwnedFd>>,
    terminal: bool,
    current: Option<Input>,
    /// Bytes of the current request that the job's pipe has taken.
    taken: u64,
    /// Bytes that the pipe had no room for, from `at` on.
    unwritten: Vec<u8>,
    at: usize,
    /// What is written is the end of a terminal's input.
    ending: bool,
    last: u8,
}

/// What became of a write.
enum Progress {
    AllWritten,
    NoRoom,
    NobodyReads,
}

impl Feeder {
    pub fn new(sink: Option<Arc<OwnedFd>>, terminal: bool) -> Self {
        Self {
            sink,
            terminal,
            current: None,
            taken: 0,
            unwritten: Vec::new(),
            at: 0,
            ending: false,
            last: b'\n',
        }
    }

    /// Writes as far as there are bytes and room for them.
    pub fn feed(&mut self, exec: &Exec) {
        if self.sink.is_none()
            && let Some(event) = self.current.as_ref().and_then(|input| input.stream.poll_inbound())
        {
            self.part(&event, Taking::Closed);
        }
        for _ in 0..STEPS_MAX {
            if self.sink.is_none() {
                return;
            }
            if self.current.is_none() {
                self.current = exec.inputs.next();
                self.taken = 0;
            }
            let Some(Input { stream, close }) = &self.current else { return };
            let (stream, close) = (Arc::clone(stream), *close);
            if stream.is_gone() && !self.ending {
                self.forget_current();
                continue;
            }
            match self.write(&stream) {
                Progress::AllWritten if self.ending => self.complete(exec, &stream, close),
                Progress::AllWritten => match stream.poll_inbound() {
                    Some(Inbound::Data(data)) => (self.unwritten, self.at) = (data, 0),
                    Some(Inbound::End) if close && self.terminal => self.type_end(),
                    Some(Inbound::End) => self.complete(exec, &stream, close),
                    Some(Inbound::Gone) => self.forget_current(),
                    None => return,
                },
                Progress::NoRoom => return,
                Progress::NobodyReads => return self.close(exec, Taking::Closed),
            }
        }
        // There may be more to do, so the pump must not sleep.
        exec.wake.ring();
    }

    fn write(&mut self, stream: &Stream) -> Progress {
        let Some(sink) = &self.sink else { return Progress::NobodyReads };
        while self.at < self.unwritten.len() {
            match rustix::io::write(sink, &self.unwritten[self.at..]) {
                Ok(count) => {
                    self.at += count;
                    self.last = self.unwritten[self.at - 1];
                    if !self.ending {
                        self.taken += count as u64;
                        stream.consumed(count);
                    }
                }
                Err(Errno::AGAIN) => return Progress::NoRoom,
                Err(Errno::INTR) => {}
                Err(_) => return Progress::NobodyReads,
            }
        }
        (self.unwritten, self.at) = (Vec::new(), 0);
        Progress::AllWritten
    }

    /// Ends a terminal's input as a person would. Within a line the first character only hands
    /// the line over, and it takes a second one to say that nothing follows.
    fn type_end(&mut self) {
        let at_line_start = matches!(self.last, b'\n' | b'\r' | END_OF_INPUT);
        self.unwritten = vec![END_OF_INPUT; if at_line_start { 1 } else { 2 }];
        self.at = 0;
        self.ending = true;
    }

    fn complete(&mut self, exec: &Exec, stream: &Stream, close: bool) {
        self.forget_current();
        if close {
            self.close(exec, Taking::Closed);
        }
        stream.finish(&Reply::Written { bytes: self.taken });
    }

    fn forget_current(&mut self) {
        self.current = None;
        (self.unwritten, self.at) = (Vec::new(), 0);
    }

    /// Takes no more. A request whose bytes have all been taken so far may still be complete: it
    /// stays until its next frame, which says.
    fn close(&mut self, exec: &Exec, why: Taking) {
        self.sink = None;
        let satisfied = self.taken > 0 && self.at == self.unwritten.len() && !self.ending;
        let current = self.current.take();
        self.forget_current();
        refuse(exec.inputs.shut(why), why);
        match current {
            Some(input) if satisfied => self.current = Some(input),
            Some(input) => refuse([input], why),
            None => {}
        }
    }

    /// Answers a request that [`close`](Self::close) has left, now that its next frame is here.
    fn part(&mut self, event: &Inbound, why: Taking) {
        let Some(input) = self.current.take() else { return };
        match event {
            Inbound::End => input.stream.finish(&Reply::Written { bytes: self.taken }),
            Inbound::Data(_) => refuse([input], why),
            Inbound::Gone => input.stream.close(),
        }
    }

    /// Answers what is left once the exit is reported.
    pub fn finish(&mut self) {
        let Some(input) = &self.current else { return };
        match input.stream.wait_inbound_for(PARTING_PATIENCE) {
            Some(event) => self.part(&event, Taking::Over),
            None => refuse(self.current.take(), Taking::Over),
        }
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Nobody has the other end of the pipe any more.
    pub fn nobody_reads(&mut self, exec: &Exec) {
        self.close(exec, Taking::Closed);
    }

    /// The exec has ended.
    pub fn end(&mut self, exec: &Exec) {
        self.close(exec, Taking::Over);
    }

    /// What to wait for. A pipe tells unasked when its reader is gone; of a terminal that is not
    /// wanted, because its hang-up is noticed where it is read.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        let wants_room = self.at < self.unwritten.len();
        let flags = if wants_room { PollFlags::OUT } else { PollFlags::empty() };
        let sink = self.sink.as_ref().filter(|_| wants_room || !self.terminal)?;
        Some(PollFd::from_borrowed_fd(sink.as_fd(), flags))
    }
}
