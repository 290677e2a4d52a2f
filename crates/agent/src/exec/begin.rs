//! The start of an exec: its user, its pipes or terminal, its kill domain, its process. Not what
//! follows (that is the pump, which calls [`begin`]).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use proto::{ExecExit, Outcome, StartFailure, Stdin, TtySize, Usage};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::domain::Domain;
use super::follow::{STARTED, announce};
use super::launch::Job;
use super::terminal::{self, Terminal};
use super::{Attachment, Exec, user};
use crate::agent::Agent;
use crate::files::Root;
use crate::stream::Stream;
use crate::sys::{self, ChildEnds, Step};

/// Bytes of the message of a failed start: a name in it may be of any length, and the messages of
/// all remembered execs have to fit one answer.
const MESSAGE_BYTES_MAX: usize = 160;

/// What the agent has of a started process.
#[derive(Debug)]
pub struct Begun {
    /// Standard output and standard error. A terminal is both, and comes as the first.
    pub outs: [Option<Arc<OwnedFd>>; 2],
    /// Where input goes.
    pub sink: Option<Arc<OwnedFd>>,
    /// The job's end of its terminal. Held while the main process runs, so that a job which
    /// closes its terminal and opens it again is not taken for one that has no more to say.
    pub slave: Option<Arc<OwnedFd>>,
}

/// The agent's and the job's ends.
struct Ends {
    own: Begun,
    stdin: Arc<OwnedFd>,
    stdout: Arc<OwnedFd>,
    stderr: Arc<OwnedFd>,
}

/// Starts the process; the error is the exec's outcome.
pub fn begin(agent: &Arc<Agent>, exec: &Arc<Exec>, mut job: Job) -> Result<Begun, Outcome> {
    if job.user.is_some() {
        choose_user(agent, &mut job)?;
    }
    let Ends { own, stdin, stdout, stderr } = match job.tty {
        Some(size) => terminal_ends(agent, exec, &job, size)?,
        None => pipe_ends(job.stdin).map_err(resources)?,
    };
    let (report, report_child) = pipe_with(PipeFlags::CLOEXEC).map_err(resources)?;
    let (domain, entry) = Domain::prepare(agent, &exec.id).map_err(resources)?;
    let terminal = job.tty.is_some();
    let ends = ChildEnds { stdin, stdout, stderr, terminal, report: report_child, entry };
    let started = agent.supervisor.start(exec, domain, (&job.launch, &ends));
    drop(ends);
    if let Err((domain, error)) = started {
        domain.remove_if_empty();
        return Err(resources(error));
    }
    match sys::read_report(report.as_fd()) {
        None => Ok(own),
        Some((step, error)) => Err(explain(step, error, &job)),
    }
}

fn choose_user(agent: &Agent, job: &mut Job) -> Result<(), Outcome> {
    let bad = |message: String| failure(StartFailure::BadUser, message);
    let wanted = job.user.as_deref().unwrap_or_default();
    let user = user::find(Root::new(&agent.root), wanted).map_err(bad)?;
    if user.identity.uid == 0 && agent.config.uid != 0 {
        let message = format!("user: {wanted:?}: programs do not run as root in this image");
        return Err(bad(message));
    }
    job.run_as(&user, agent.own).map_err(bad)
}

fn terminal_ends(agent: &Agent, exec: &Exec, job: &Job, size: TtySize) -> Result<Ends, Outcome> {
    let owner = job.launch.identity.map(|identity| identity.uid);
    let opened = terminal::open(Root::new(&agent.root), size, owner);
    let Terminal { master, slave } = opened.map_err(|error| match (error, &job.user) {
        (Errno::INVAL, Some(user)) => unmapped(user),
        (error, _) => failure(StartFailure::Resources, format!("tty: {error}")),
    })?;
    exec.set_terminal(Some(Arc::clone(&master)));
    let child = || Arc::clone(&slave);
    let (stdin, stdout, stderr) = (child(), child(), child());
    let own = Begun { outs: [Some(Arc::clone(&master)), None], sink: Some(master), slave: None };
    Ok(Ends { own: Begun { slave: Some(slave), ..own }, stdin, stdout, stderr })
}

fn pipe_ends(stdin: Stdin) -> Result<Ends, Errno> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    // The agent's end never blocks it; the job's end is an ordinary one.
    let own = |fd: OwnedFd| rustix::io::ioctl_fionbio(&fd, true).map(|()| Some(Arc::new(fd)));
    let (stdout, stdout_child) = pipe()?;
    let (stderr, stderr_child) = pipe()?;
    let (stdin, sink) = match stdin {
        Stdin::Null => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (rustix::fs::open(c"/dev/null", flags, Mode::empty())?, None)
        }
        Stdin::Stream => {
            let (child, sink) = pipe()?;
            (child, own(sink)?)
        }
    };
    Ok(Ends {
        own: Begun { outs: [own(stdout)?, own(stderr)?], sink, slave: None },
        stdin: Arc::new(stdin),
        stdout: Arc::new(stdout_child),
        stderr: Arc::new(stderr_child),
    })
}

fn resources(error: Errno) -> Outcome {
    failure(StartFailure::Resources, format!("exec: {error}"))
}

fn unmapped(user: &str) -> Outcome {
    failure(StartFailure::BadUser, format!("user: {user:?}: the sandbox has no such ids"))
}

fn failure(failure: StartFailure, mut message: String) -> Outcome {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    Outcome::StartFailed { failure, message }
}

fn explain(step: Step, error: Errno, job: &Job) -> Outcome {
    let name = job.launch.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    match step {
        Step::Workdir => {
            let workdir = job.launch.workdir.to_string_lossy();
            failure(StartFailure::BadWorkdir, format!("workdir: {workdir}: {error}"))
        }
        Step::Exec => match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => {
                failure(StartFailure::NotFound, format!("program: {name}: not found"))
            }
            Errno::ACCESS | Errno::NOEXEC | Errno::PERM | Errno::ISDIR | Errno::LIBBAD => {
                failure(StartFailure::NotExecutable, format!("program: {name}: {error}"))
            }
            Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE => {
                failure(StartFailure::Resources, format!("program: {name}: {error}"))
            }
            _ => failure(StartFailure::Other, format!("program: {name}: {error}")),
        },
        Step::Fork => resources(error),
        Step::Identity => match (&job.user, error) {
            (Some(user), Errno::INVAL) => unmapped(user),
            (Some(user), error) => {
                failure(StartFailure::BadUser, format!("user: {user:?}: {error}"))
            }
            (None, error) => failure(StartFailure::Other, format!("exec: {step:?}: {error}")),
        },
        Step::Session | Step::Cgroup | Step::Streams => {
            failure(StartFailure::Other, format!("exec: {step:?}: {error}"))
        }
    }
}

/// Reports an exec for which there was no thread.
pub fn report_no_thread(agent: &Agent, exec: &Exec, stream: &Arc<Stream>) {
    let message = "exec: no thread is left for it".to_owned();
    report_failure(agent, exec, failure(StartFailure::Resources, message), stream);
}

/// Reports an exec that never ran to everybody who waits for it.
pub fn report_failure(agent: &Agent, exec: &Exec, outcome: Outcome, stream: &Arc<Stream>) {
    let exit = ExecExit {
        outcome,
        duration_us: 0,
        stdout_bytes: 0,
        stderr_bytes: 0,
        usage: Usage::default(),
    };
    exec.set_terminal(None);
    exec.inputs.end();
    let _ = stream.reply(&STARTED);
    let waiters = loop {
        if let Some(waiters) = exec.conclude(&exit) {
            break waiters;
        }
        if let Some(Attachment { stream, offsets: _ }) = exec.take_waiting() {
            let _ = stream.reply(&STARTED);
            stream.exit(&exit);
        }
    };
    agent.console.note(&format!("exec {} could not be started", exec.id));
    agent.execs.forget_oldest();
    stream.exit(&exit);
    announce(&exit, &waiters);
}
