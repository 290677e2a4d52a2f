//! Turns a request to start a process into what the child needs: C strings, search path,
//! environment. Pure, but for reading no file at all: what exists is found out by the child, as
//! the job's user. `exec::start` calls it.

use std::collections::BTreeMap;
use std::ffi::CString;

use proto::{AgentConfig, ExecStart, Program, Stdin, TtySize};
use rustix::process::{Resource, Rlimit, getrlimit};

use super::user::User;
use crate::sys::{Identity, Launch};

/// Where programs are looked for when the job's environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files that a job may have before it raises its own limit: what most systems start a
/// program with, because programs that use `select` break on larger numbers.
const OPEN_FILES: u64 = 1024;

/// What programs are told of their terminal when nobody says otherwise: every emulator that
/// matters understands it, and every image has it.
const DEFAULT_TERM: &str = "xterm-256color";

/// The variables that tell a program who runs it.
const OF_USER: [&str; 3] = ["HOME", "USER", "LOGNAME"];

/// A process that can be started.
#[derive(Debug)]
pub struct Job {
    pub launch: Launch,
    pub stdin: Stdin,
    pub tty: Option<TtySize>,
    /// The user that the request names.
    pub user: Option<String>,
    /// Which of the variables of [`OF_USER`] the request sets itself.
    set: [bool; 3],
}

impl Job {
    /// Has the process run as `user`, where the agent runs as `own`.
    pub fn run_as(&mut self, user: &User, own: Identity) -> Result<(), String> {
        self.launch.identity = (user.identity != own).then_some(user.identity);
        let Some(entry) = &user.entry else { return Ok(()) };
        let values = [&entry.home, &entry.name, &entry.name];
        for ((name, value), set) in OF_USER.into_iter().zip(values).zip(self.set) {
            if !set && !value.is_empty() {
                let prefix = format!("{name}=");
                let envp = &mut self.launch.envp;
                envp.retain(|variable| !variable.as_bytes().starts_with(prefix.as_bytes()));
                envp.push(text("user", &(prefix + value))?);
            }
        }
        Ok(())
    }
}

/// Checks and converts; the error names the field.
pub fn prepare(
    config: &AgentConfig,
    identity: Option<Identity>,
    start: &ExecStart,
) -> Result<Job, String> {
    let env = environment(config, start)?;
    let path = env.get("PATH").map_or(DEFAULT_PATH, |path| path);
    let (programs, argv) = match &start.program {
        Program::Shell { line } => {
            let argv = vec![c"/bin/sh".to_owned(), c"-c".to_owned(), text("line", line)?];
            (vec![c"/bin/sh".to_owned()], argv)
        }
        Program::Argv { argv } => {
            let name = argv.first().ok_or("argv: empty")?;
            let strings: Result<_, _> = argv.iter().map(|word| text("argv", word)).collect();
            (candidates(name, path)?, strings?)
        }
    };
    let envp: Result<_, _> =
        env.iter().map(|(name, value)| text("env", &format!("{name}={value}"))).collect();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES)));
    Ok(Job {
        launch: Launch {
            programs,
            argv,
            envp: envp?,
            workdir: text("workdir", start.workdir.as_ref().unwrap_or(&config.workdir))?,
            identity,
            open_files: Rlimit { current, maximum },
        },
        stdin: start.stdin,
        tty: start.tty,
        user: start.user.clone(),
        set: OF_USER.map(|name| start.env.iter().any(|(set, _)| set == name)),
    })
}

fn environment<'a>(
    config: &'a AgentConfig,
    start: &'a ExecStart,
) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let mut env = BTreeMap::new();
    for (name, value) in config.env.iter().chain(&start.env) {
        if name.is_empty() || name.contains('=') {
            return Err(format!("env: {name:?} is no name of a variable"));
        }
        env.insert(name.as_str(), value.as_str());
    }
    if start.tty.is_some() {
        env.entry("TERM").or_insert(DEFAULT_TERM);
    }
    Ok(env)
}

/// The paths to try for a program's name, in order.
fn candidates(name: &str, path: &str) -> Result<Vec<CString>, String> {
    if name.is_empty() || name.contains('/') {
        return Ok(vec![text("argv", name)?]);
    }
    // An empty entry means the working directory, as POSIX has it.
    path.split(':')
        .map(|dir| if dir.is_empty() { "." } else { dir })
        .map(|dir| text("argv", &format!("{dir}/{name}")))
        .collect()
}

fn text(field: &str, value: &str) -> Result<CString, String> {
    CString::new(value).map_err(|_| format!("{field}: contains a NUL"))
}

#[cfg(test)]
mod tests {
    use super::super::user::Entry;
    use super::*;

    fn config() -> AgentConfig {
        AgentConfig {
            listen_fd: 3,
            kill_cgroup_fd: None,
            oom_fd: None,
            uid: 1000,
            gid: 1000,
            env: vec![("PATH".into(), "/a:/b".into()), ("HOME".into(), "/workspace".into())],
            workdir: "/workspace".into(),
            max_execs: 1,
        }
    }

    fn argv(words: &[&str]) -> ExecStart {
        ExecStart {
            exec_id: "e".into(),
            program: Program::Argv { argv: words.iter().map(ToString::to_string).collect() },
            env: Vec::new(),
            workdir: None,
            timeout_ms: None,
            grace_ms: 0,
            drain_ms: 0,
            stdin: Stdin::Null,
            ring_bytes: 0,
            end_with_connection: false,
            detached: false,
            tty: None,
            user: None,
        }
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_jobs_own_path() {
        let mut start = argv(&["tool", "x"]);
        let job = prepare(&config(), None, &start).unwrap();
        assert_eq!(job.launch.programs, [c"/a/tool".to_owned(), c"/b/tool".to_owned()]);
        start.env = vec![("PATH".into(), ":/c".into())];
        let job = prepare(&config(), None, &start).unwrap();
        assert_eq!(job.launch.programs, [c"./tool".to_owned(), c"/c/tool".to_owned()]);
    }

    #[test]
    fn a_name_with_a_slash_is_taken_as_it_is() {
        let job = prepare(&config(), None, &argv(&["./tool"])).unwrap();
        assert_eq!(job.launch.programs, [c"./tool".to_owned()]);
    }

    #[test]
    fn the_request_overrides_the_base_environment() {
        let mut start = argv(&["tool"]);
        start.env = vec![("HOME".into(), "/x".into()), ("HOME".into(), "/y".into())];
        let job = prepare(&config(), None, &start).unwrap();
        assert_eq!(job.launch.envp, [c"HOME=/y".to_owned(), c"PATH=/a:/b".to_owned()]);
    }

    #[test]
    fn a_user_brings_its_home_unless_the_request_has_one() {
        let home = "/home/dev".to_owned();
        let entry = Some(Entry { name: "dev".to_owned(), home });
        let identity = Identity { uid: 5, gid: 6 };
        let user = User { identity, entry };
        let envp = |start: &ExecStart| {
            let mut job = prepare(&config(), None, start).unwrap();
            job.run_as(&user, Identity { uid: 0, gid: 0 }).unwrap();
            assert_eq!(job.launch.identity, Some(identity));
            job.launch.envp.iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut start = argv(&["tool"]);
        assert_eq!(envp(&start), ["PATH=/a:/b", "HOME=/home/dev", "USER=dev", "LOGNAME=dev"]);
        start.env = vec![("HOME".into(), "/mine".into())];
        assert_eq!(envp(&start), ["HOME=/mine", "PATH=/a:/b", "USER=dev", "LOGNAME=dev"]);
    }

    #[test]
    fn what_no_program_can_be_given_is_refused_with_its_field() {
        let problem = |start: &ExecStart| prepare(&config(), None, start).unwrap_err();
        assert!(problem(&argv(&[])).starts_with("argv"));
        assert!(problem(&argv(&["a\0b"])).starts_with("argv"));
        let mut start = argv(&["a"]);
        start.env = vec![("A=B".into(), String::new())];
        assert!(problem(&start).starts_with("env"));
        start.env = Vec::new();
        start.workdir = Some("/\0".into());
        assert!(problem(&start).starts_with("workdir"));
    }
}
