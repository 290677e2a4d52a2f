//! Runs the tests that drive the server through the published Python client.
//!
//! The client is installed by pip into a virtual environment below the target directory, exactly
//! as a user gets it; it is never changed to fit us. Each file in `tests/python` is a program of
//! its own that starts the server named by `STACYVM_BIN` and ends with 0 when all is well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::failure::Failure;
use crate::needs::PYTHON;

use super::Setting;

/// The published client, and the version whose behaviour we promise to keep working.
const CLIENT: &str = "stacyvm";
const CLIENT_VERSION: &str = "0.1.1";

/// A whole test program takes seconds; one that takes longer than this hangs.
const PROGRAM_LIMIT: Duration = Duration::from_mins(5);

/// Runs every program in `tests/python`, in the order of their names. None at all is a failure.
pub fn run(setting: &Setting<'_>) -> Result<(), Failure> {
    let programs = programs(&setting.workspace.root.join("tests/python"))?;
    let python = environment(setting)?;
    for program in programs {
        let mut test = setting.give(Command::new(&python));
        command::run_within(PROGRAM_LIMIT, test.arg("-B").arg(program))?;
    }
    Ok(())
}

fn programs(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(Failure::doing("list tests/python"))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut programs: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "py")).collect();
    programs.sort();
    if programs.is_empty() {
        return Err(Failure::new("find a program in tests/python"));
    }
    Ok(programs)
}

/// The Python of the virtual environment, which is made anew when it lacks the client.
fn environment(setting: &Setting<'_>) -> Result<PathBuf, Failure> {
    let folder = setting.workspace.target.join("xtask").join("python");
    let python = folder.join("bin").join("python");
    if has_client(&python) {
        return Ok(python);
    }
    let mut make = Command::new(PYTHON);
    command::run(make.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command::run(install.arg(format!("{CLIENT}=={CLIENT_VERSION}")))?;
    Ok(python)
}

fn has_client(python: &Path) -> bool {
    let ask = format!(
        "from importlib.metadata import version; \
         raise SystemExit(version('{CLIENT}') != '{CLIENT_VERSION}')"
    );
    command::succeeds(Command::new(python).args(["-c", &ask]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_of_programs_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert!(programs(folder.path()).is_err());
    }

    #[test]
    fn programs_run_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.py", "a.py", "c.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = programs(folder.path()).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["a.py", "b.py"]);
    }
}
