//! The binary: reads its configuration from the first argument and becomes the sandbox's init.
//!
//! It is started by whatever made the sandbox, with its listening socket already open. It never
//! returns; when it cannot start it ends at once with code 97, which its parent reports.

use std::process::ExitCode;

use proto::AgentConfig;
use rustix::fs::{Mode, OFlags};

/// The exit code of an agent that could not start: none that a job of its would have.
const CANNOT_START: u8 = 97;

fn main() -> ExitCode {
    match start() {
        Ok(never) => never,
        Err(_) => ExitCode::from(CANNOT_START),
    }
}

fn start() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("no configuration")?;
    let config: AgentConfig = serde_json::from_str(&text)?;
    let listener = agent::inherit(config.listen_fd)?;
    let holdings = agent::Holdings {
        root: rustix::fs::open(
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?,
        kill_cgroup: config.kill_cgroup_fd.map(agent::inherit).transpose()?,
        oom_counter: config.oom_fd.map(agent::inherit).transpose()?,
    };
    let signals = agent::prepare()?;
    let agent = agent::Agent::new(config, holdings)?;
    agent::listen(&agent, listener)?;
    agent::supervise(&agent, &signals)
}
