//! `cargo xtask bench`: what a sandbox costs, beside its peers, in one run.
//!
//! The release build serves on a port of its own with a data directory of its own, and is asked
//! over REST on one connection that is kept open. Each round measures every subject once, and the
//! rounds rotate the order, so that a slow moment of the machine hits all of them alike: compare
//! figures of one run only. Nothing is asserted here; a mark that is missed is printed as missed.

mod docker;
mod flows;
mod host;
mod http;
mod memory;
mod plane;
mod report;
mod samples;
mod subject;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::needs::{self, Purpose};
use crate::workspace::Workspace;

use self::docker::Docker;
use self::plane::Plane;
use self::report::Report;
use self::samples::Samples;
use self::subject::{Measure, Peers, Subject};

/// Enough for a 99th percentile that is not the maximum.
pub const ROUNDS_DEFAULT: u32 = 200;
/// A round with Docker takes about half a second, so this is more than an hour.
const ROUNDS_MAX: i64 = 10_000;
/// Rounds before the first that counts: caches fill, images are unpacked, connections open.
const WARM_UP_ROUNDS: u32 = 10;

/// How many rounds the command line may ask for.
pub fn rounds() -> clap::builder::RangedI64ValueParser<u32> {
    let range: RangeInclusive<i64> = 1..=ROUNDS_MAX;
    clap::value_parser!(u32).range(range)
}

/// Measures, prints the table, and writes the JSON file when one is named.
pub fn run(workspace: &Workspace, rounds: u32, json: Option<&Path>) -> Result<(), Failure> {
    needs::install(Purpose::Bench)?;
    let stacyvm = workspace.build_stacyvm()?;
    let docker = Docker::find()?;
    if docker.is_none() {
        eprintln!("no Docker daemon answers: docker is not measured");
    }
    let mut plane = Plane::start(&mut Command::new(&stacyvm))?;
    let peers = Peers { docker: docker.as_ref() };
    let samples = measure(&mut plane, &peers, rounds)?;
    let memory = memory::measure(&mut plane)?;
    let flows = flows::measure(&mut plane)?;
    let host = host::facts(&stacyvm, docker.as_ref());
    let report = Report { rounds, host, samples, memory, flows };
    plane.stop()?;
    print!("{}", report.table());
    if let Some(path) = json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(path, text).map_err(Failure::doing(format!("write {}", path.display())))?;
    }
    Ok(())
}

fn measure(plane: &mut Plane, peers: &Peers<'_>, rounds: u32) -> Result<Samples, Failure> {
    let live = plane.create()?;
    let mut samples = Samples::default();
    let subjects = peers.subjects();
    for round in 0..WARM_UP_ROUNDS + rounds {
        if round == WARM_UP_ROUNDS {
            samples = Samples::default();
        }
        for place in 0..subjects.len() {
            let subject = subjects[(place + round as usize) % subjects.len()];
            match subject {
                Subject::Cycle => plane.cycle(&mut samples)?,
                Subject::LiveExec => {
                    let took = plane.exec(&live)?;
                    samples.add(Measure::LiveExec, took);
                }
                Subject::BareSpawn
                | Subject::Bubblewrap
                | Subject::DockerRun
                | Subject::DockerExec => peers.measure(subject, &mut samples)?,
            }
        }
    }
    plane.delete(&live)?;
    Ok(samples)
}
