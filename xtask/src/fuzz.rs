//! `cargo xtask fuzz`: runs every fuzz target under libFuzzer for a bounded time.
//!
//! Needs no other toolchain and no other tool: the coverage passes are the stable compiler's own,
//! and libFuzzer is a crate. Inputs that reach something new stay in cargo's target folder, so that
//! each run goes on where the last one stopped; the kept ones in `fuzz/corpus` are only read.
//! Targets themselves are in `fuzz/src`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::failure::Failure;
use crate::needs::{self, Purpose};
use crate::workspace::Workspace;

/// How long a target runs when nothing is said: enough to reach all that the kept inputs reach
/// and a little more, for every merge.
pub const SECONDS_DEFAULT: u32 = 10;

/// One input may take so long; the slowest kept one takes a thousandth of it.
const INPUT_SECONDS_MAX: u32 = 5;

/// Memory that a target may take, in MiB: ten times what the largest takes.
const MEMORY_MIB_MAX: u32 = 512;

/// What libFuzzer gets beyond its time to start, read the corpus and say what it found.
const SLACK: Duration = Duration::from_mins(1);

/// Runs all targets, or those whose name contains one of `filters`, `seconds` long each.
pub fn run(workspace: &Workspace, seconds: u32, filters: &[String]) -> Result<(), Failure> {
    needs::install(Purpose::Fuzz)?;
    let corpus = workspace.root.join("fuzz/corpus");
    let targets = chosen(targets(&corpus)?, filters);
    if targets.is_empty() {
        return Err(Failure::new("find a fuzz target of that name"));
    }
    build(workspace)?;
    for target in targets {
        let found = workspace.target.join("fuzz").join(&target);
        let crashes = workspace.target.join("fuzz-crashes");
        for folder in [&found, &crashes] {
            let doing = format!("make {}", folder.display());
            fs::create_dir_all(folder).map_err(Failure::doing(doing))?;
        }
        let limit = Duration::from_secs(seconds.into()) + SLACK;
        command::run_within(
            limit,
            Command::new(workspace.target.join("debug/fuzz"))
                .env("FUZZ_TARGET", &target)
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
                .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
                .arg(format!("-artifact_prefix={}/{target}-", crashes.display()))
                .args(["-verbosity=0", "-print_final_stats=1"])
                .arg(found)
                .arg(corpus.join(&target)),
        )?;
    }
    Ok(())
}

/// Builds the program with coverage of the workspace's crates.
fn build(workspace: &Workspace) -> Result<(), Failure> {
    command::run(
        command::cargo()
            .args(["build", "--locked", "--package", "stacyvm-fuzz", "--bin", "fuzz"])
            .args(["--features", "libfuzzer"])
            .env("RUSTC_WORKSPACE_WRAPPER", workspace.root.join("fuzz/instrument"))
            .current_dir(&workspace.root),
    )
}

/// The targets are the folders of kept inputs: a test of the fuzz crate holds both lists equal.
fn targets(corpus: &Path) -> Result<Vec<String>, Failure> {
    let doing = || format!("read {}", corpus.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(corpus).map_err(Failure::doing(doing()))? {
        let entry = entry.map_err(Failure::doing(doing()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn chosen(targets: Vec<String>, filters: &[String]) -> Vec<String> {
    let wanted = |target: &String| {
        filters.is_empty() || filters.iter().any(|filter| target.contains(filter.as_str()))
    };
    targets.into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_a_part_of_their_name() {
        let all = vec!["frames".to_owned(), "guest_path".to_owned()];
        assert_eq!(chosen(all.clone(), &[]), all);
        assert_eq!(chosen(all.clone(), &["path".to_owned()]), ["guest_path"]);
        assert!(chosen(all, &["nonesuch".to_owned()]).is_empty());
    }
}
