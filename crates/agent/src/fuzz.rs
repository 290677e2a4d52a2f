//! Doors to what reads foreign bytes, for the fuzz targets and for nobody else. Each gives plain
//! values, so that no type of the agent has to be public.

use std::ffi::CString;

use proto::{AgentConfig, ExecStart};

use crate::exec::launch;
use crate::files::path::GuestPath;
use crate::files::pattern::Pattern;

/// A path as the agent understands it.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    /// Its canonical form.
    pub text: String,
    /// Directory and name, unless it names no entry.
    pub split: Option<(String, String)>,
    /// Every directory on the way, then the path itself.
    pub steps: Vec<String>,
}

/// What the kernel is given to start a program.
#[derive(Debug)]
pub struct Command {
    /// The files that are tried in order.
    pub programs: Vec<CString>,
    /// The arguments.
    pub argv: Vec<CString>,
    /// The environment.
    pub envp: Vec<CString>,
}

/// Parses a path.
pub fn path(text: &str) -> Option<Path> {
    let path = GuestPath::parse(text).ok()?;
    Some(Path {
        text: path.as_str().to_owned(),
        split: path.split().map(|(parent, name)| (parent.as_str().to_owned(), name.to_owned())),
        steps: path.steps().map(|step| step.as_str().to_owned()).collect(),
    })
}

/// Whether a name matches a pattern.
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).matches(name)
}

/// The one name that a pattern matches, if there is only one.
pub fn pattern_literal(pattern: &str) -> Option<String> {
    Pattern::parse(pattern).literal()
}

/// Turns a request into a command, or says which field is wrong.
pub fn command(start: &ExecStart) -> Result<Command, String> {
    let config = AgentConfig {
        listen_fd: -1,
        kill_cgroup_fd: None,
        oom_fd: None,
        uid: 1000,
        gid: 1000,
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        workdir: "/workspace".to_owned(),
        max_execs: 1,
    };
    let launch = launch::prepare(&config, None, start)?.launch;
    Ok(Command { programs: launch.programs, argv: launch.argv, envp: launch.envp })
}
