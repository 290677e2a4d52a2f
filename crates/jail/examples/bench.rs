//! Measures create and destroy through the real helper: medians and tails over a number of runs.
//!
//! Takes the paths of the helper and of an agent, and the number of runs. Needs root. Prints
//! microseconds; not a test, because the numbers belong to a machine.

use std::error::Error;
use std::fs::{self, File};
use std::time::Instant;

use jail::client::Client;
use jail::wire::{
    Answer, Bind, Call, Configure, CreateSpec, GENERATION, ImageSpec, Limits, Target,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "arguments: HELPER AGENT RUNS";
    let helper = arguments.next().ok_or(usage)?;
    let agent = arguments.next().ok_or(usage)?;
    let runs: u32 = arguments.next().ok_or(usage)?.parse()?;
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("image");
    for name in ["proc", "sys", "dev", "usr", "tmp"] {
        fs::create_dir_all(image.join(name))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), image.join(name))?;
    }
    let agent = jail::launch::sealed("agent", &fs::read(agent)?)?;
    let mut client = Client::start(File::open(helper)?, agent)?;
    client.call(Call::Configure(Configure {
        generation: GENERATION,
        instance: format!("bench-{}", std::process::id()),
        state_dir: dir.path().to_owned(),
        ephemeral: true,
    }))??;
    let (mut creates, mut destroys) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let target = Target { sandbox: format!("bench-{run}"), incarnation: 1 };
        let spec = CreateSpec {
            target: target.clone(),
            hostname: "bench".to_owned(),
            image: ImageSpec {
                lower: vec![image.clone()],
                binds: vec![Bind { source: "/usr".into(), target: "/usr".into() }],
            },
            limits: Limits { memory_bytes: 256 << 20, cpu_millis: 1000, pids: 256 },
            agent_argv: vec!["agent".to_owned()],
        };
        let started = Instant::now();
        let Answer::Created(_) = client.call(Call::Create(spec))?? else {
            return Err("not created".into());
        };
        creates.push(started.elapsed().as_micros());
        let started = Instant::now();
        client.call(Call::Destroy(target))??;
        destroys.push(started.elapsed().as_micros());
    }
    client.close()?;
    report("create", &mut creates);
    report("destroy", &mut destroys);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn report(what: &str, figures: &mut [u128]) {
    figures.sort_unstable();
    let at = |percent: usize| figures.get(figures.len() * percent / 100).copied().unwrap_or(0);
    println!("{what}: p50 {} p95 {} p99 {} us", at(50), at(95), at(99));
}
