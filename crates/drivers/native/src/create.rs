//! What a sandbox is made of: a provider's spec as the jail's.

use jail::wire::{CreateSpec, ImageSpec, Limits, Target};
use model::{Failure, Reason, SandboxName};
use proto::AgentConfig;
use provider::RuntimeSpec;

use crate::image;

/// The descriptors that the jail leaves open for the agent.
const LISTEN_FD: i32 = 3;
const KILL_CGROUP_FD: i32 = 4;
const OOM_FD: i32 = 5;

/// A runtime's name as the jail spells it.
pub fn target(name: &SandboxName) -> Target {
    Target { sandbox: name.id.to_string(), incarnation: name.incarnation }
}

/// The jail's request for a sandbox.
pub fn create_spec(
    name: &SandboxName,
    spec: &RuntimeSpec,
    host: &ImageSpec,
) -> Result<CreateSpec, Failure> {
    if spec.image != image::HOST {
        let message = format!("image not found: {}", spec.image);
        return Err(Failure::new(Reason::ImageNotFound, message)
            .detail("image", spec.image.as_str())
            .detail("provider", crate::NAME)
            .hint("the native provider has the image `host`: this host's own programs"));
    }
    Ok(CreateSpec {
        target: target(name),
        hostname: name.id.to_string(),
        image: host.clone(),
        limits: Limits {
            memory_bytes: u64::from(spec.resources.memory_mib) * 1024 * 1024,
            cpu_millis: u64::from(spec.resources.vcpus) * 1000,
            pids: u64::from(spec.resources.pids),
        },
        agent_argv: vec!["stacyvm-agent".to_owned(), agent_config(spec.execs_max)?],
    })
}

fn agent_config(max_execs: u32) -> Result<String, Failure> {
    let env = [
        ("PATH", image::PATH),
        ("HOME", image::WORKDIR),
        ("USER", "user"),
        ("LOGNAME", "user"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("TERM", "xterm-256color"),
    ];
    let config = AgentConfig {
        listen_fd: LISTEN_FD,
        kill_cgroup_fd: Some(KILL_CGROUP_FD),
        oom_fd: Some(OOM_FD),
        uid: image::USER_ID,
        gid: image::USER_ID,
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        workdir: image::WORKDIR.to_owned(),
        max_execs,
    };
    serde_json::to_string(&config).map_err(Failure::internal)
}
