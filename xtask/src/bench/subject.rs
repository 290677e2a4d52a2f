//! What is measured, and how each peer is run once.
//!
//! Every subject ends in the same program, so that the difference is the sandbox around it. The
//! subjects that talk to the server are in `plane`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

use super::docker::Docker;
use super::samples::Samples;

/// The program that every subject runs: it does nothing, so only the way to it is measured.
pub const PROGRAM: &str = "/usr/bin/true";

/// Bubblewrap with every namespace and a usable root; it has no layer to write to, no limits and
/// no system call filter, so it does less than we do.
pub const BUBBLEWRAP: &[&str] =
    &["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", PROGRAM];

/// One thing that a round does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Cycle,
    LiveExec,
    BareSpawn,
    Bubblewrap,
    DockerRun,
    DockerExec,
}

/// One row of the result: a whole subject, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Create,
    FirstExec,
    Delete,
    Cycle,
    LiveExec,
    BareSpawn,
    Bubblewrap,
    DockerRun,
    DockerExec,
}

impl Measure {
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::FirstExec,
        Self::Delete,
        Self::Cycle,
        Self::LiveExec,
        Self::BareSpawn,
        Self::Bubblewrap,
        Self::DockerRun,
        Self::DockerExec,
    ];

    /// The name in the table and in the JSON file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "stacyvm create",
            Self::FirstExec => "stacyvm first exec",
            Self::Delete => "stacyvm delete",
            Self::Cycle => "stacyvm create + exec + delete",
            Self::LiveExec => "stacyvm exec, live sandbox",
            Self::BareSpawn => "no sandbox: spawn",
            Self::Bubblewrap => "bwrap",
            Self::DockerRun => "docker run --rm",
            Self::DockerExec => "docker exec",
        }
    }

    /// The median that we hold ourselves to, where there is one.
    pub fn mark(self) -> Option<Duration> {
        match self {
            Self::Cycle => Some(Duration::from_millis(10)),
            Self::LiveExec => Some(Duration::from_micros(2500)),
            Self::Create
            | Self::FirstExec
            | Self::Delete
            | Self::BareSpawn
            | Self::Bubblewrap
            | Self::DockerRun
            | Self::DockerExec => None,
        }
    }

    /// The peers that do the same job, for the ratios.
    pub fn peers(self) -> &'static [Self] {
        match self {
            Self::Cycle => &[Self::Bubblewrap, Self::DockerRun],
            Self::LiveExec => &[Self::Bubblewrap, Self::DockerExec],
            Self::Create
            | Self::FirstExec
            | Self::Delete
            | Self::BareSpawn
            | Self::Bubblewrap
            | Self::DockerRun
            | Self::DockerExec => &[],
        }
    }
}

/// The programs that are measured beside us.
pub struct Peers<'a> {
    pub docker: Option<&'a Docker>,
}

impl Peers<'_> {
    /// What a round consists of on this machine.
    pub fn subjects(&self) -> Vec<Subject> {
        use Subject::{BareSpawn, Bubblewrap, Cycle, DockerExec, DockerRun, LiveExec};
        let mut subjects = vec![Cycle, LiveExec, BareSpawn, Bubblewrap];
        if self.docker.is_some() {
            subjects.extend([DockerRun, DockerExec]);
        }
        subjects
    }

    /// Runs a peer once; a subject that is not a peer, or not there, takes no time.
    pub fn measure(&self, subject: Subject, samples: &mut Samples) -> Result<(), Failure> {
        let docker = |command: fn(&Docker) -> Command| self.docker.map(command);
        let (measure, command) = match subject {
            Subject::Cycle | Subject::LiveExec => return Ok(()),
            Subject::BareSpawn => (Measure::BareSpawn, Some(Command::new(PROGRAM))),
            Subject::Bubblewrap => {
                let mut bubblewrap = Command::new("bwrap");
                bubblewrap.args(BUBBLEWRAP);
                (Measure::Bubblewrap, Some(bubblewrap))
            }
            Subject::DockerRun => (Measure::DockerRun, docker(Docker::run)),
            Subject::DockerExec => (Measure::DockerExec, docker(Docker::exec)),
        };
        if let Some(command) = command {
            samples.add(measure, time(measure, command)?);
        }
        Ok(())
    }
}

fn time(measure: Measure, mut command: Command) -> Result<Duration, Failure> {
    let name = measure.name();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().map_err(Failure::doing(format!("start {name}")))?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { Err(Failure::new(format!("run {name}: {status}"))) }
}
