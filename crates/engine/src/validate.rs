//! Checks what callers ask for against the options: pure functions, each with the field in its
//! failure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use model::failure::Detail;
use model::{
    ExecId, ExecProgram, ExecSpec, Failure, Grep, Limit, Resources, SandboxPath, TtySize,
    format_duration,
};

use crate::options::EngineOptions;
use crate::request::{NewExec, NewSandbox};

/// The longest name of an image, in bytes: twice what registries allow for name and tag.
const IMAGE_BYTES_MAX: usize = 512;

/// The longest name of an owner, in bytes, as the published server has it.
const OWNER_BYTES_MAX: usize = 128;

/// The longest argument or environment entry, in bytes: the kernel's `MAX_ARG_STRLEN` without
/// the closing NUL.
const ARG_BYTES_MAX: usize = 128 * 1024 - 1;

/// The most that all arguments and the environment take, in bytes: half of what the kernel
/// allows with the usual stack limit, so that the image's own environment has room.
const ARGS_BYTES_MAX: usize = 1024 * 1024;

/// The most arguments, and the most environment entries: their pointers take room as well.
const ARGS_MAX: usize = 16 * 1024;

/// The largest terminal in either direction: far beyond any screen, and what `stty` prints well.
const TTY_CELLS_MAX: u16 = 9999;

/// The longest user with its group, in bytes: two names of the length that systems allow.
const USER_BYTES_MAX: usize = 65;

/// The limits of a new sandbox.
pub(crate) fn resources(options: &EngineOptions, new: &NewSandbox) -> Result<Resources, Failure> {
    let within = |field, value: u32, (limit, max): (Limit, u32)| match value {
        0 => Err(Failure::invalid_field(field, "must be over 0")),
        value if value > max => {
            let problem = format_args!("must be at most {max}");
            Err(Failure::field_over_limit(field, limit, i64::from(max), problem))
        }
        value => Ok(value),
    };
    let memory_mib = new.memory_mib.unwrap_or(options.default_memory_mib);
    let vcpus = new.vcpus.unwrap_or(options.default_vcpus);
    let memory = (Limit::MemoryMib, options.max_memory_mib);
    let cores = (Limit::Vcpus, options.max_vcpus);
    Ok(Resources {
        memory_mib: within("memory_mb", memory_mib, memory)?,
        vcpus: within("vcpus", vcpus, cores)?,
        pids: options.default_pids,
    })
}

/// A time to live.
pub(crate) fn ttl(options: &EngineOptions, ttl: Duration) -> Result<Duration, Failure> {
    if ttl.is_zero() {
        return Err(Failure::invalid_field("ttl", "must be over 0"));
    }
    if ttl > options.max_ttl {
        let (ttl, max) = (format_duration(ttl), format_duration(options.max_ttl));
        let message = format!("resource limit exceeded: ttl {ttl} exceeds max ttl {max}");
        return Err(Failure::over_limit(Limit::MaxTtl, max, message).detail("field", "ttl"));
    }
    Ok(ttl)
}

/// The name of an image, of which only the provider knows the meaning.
pub(crate) fn image(name: &str) -> Result<(), Failure> {
    let sane = !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > IMAGE_BYTES_MAX || !sane {
        return Err(Failure::invalid_field(
            "image",
            format_args!("expected 1 to {IMAGE_BYTES_MAX} visible ASCII characters"),
        ));
    }
    Ok(())
}

/// The name of an owner; nothing but blanks is none.
pub(crate) fn owner(name: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '\\';
    if name.len() > OWNER_BYTES_MAX || name.contains(bad) {
        return Err(Failure::invalid_field(
            "owner_id",
            format_args!(
                "expected at most {OWNER_BYTES_MAX} bytes without blanks, control characters \
                 and slashes"
            ),
        ));
    }
    Ok(Some(name.to_owned()))
}

/// A sandbox's labels.
pub(crate) fn metadata(
    options: &EngineOptions,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let over = |limit, max: usize, problem: &str| {
        Failure::field_over_limit("metadata", limit, Detail::count(max), problem)
    };
    let max = options.max_metadata_entries;
    if metadata.len() > max {
        let problem = format!("expected at most {max} entries");
        return Err(over(Limit::MetadataEntries, max, &problem));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.contains('\0') || value.contains('\0') {
            let problem = "a key is empty, or there is a NUL character in a key or value";
            return Err(Failure::invalid_field("metadata", problem));
        }
        let max = options.max_metadata_key_bytes;
        if key.len() > max {
            let problem = format!("expected keys of 1 to {max} bytes");
            return Err(over(Limit::MetadataKeyBytes, max, &problem));
        }
        let max = options.max_metadata_value_bytes;
        if value.len() > max {
            let problem = format!("expected values of at most {max} bytes");
            return Err(over(Limit::MetadataValueBytes, max, &problem));
        }
    }
    Ok(())
}

/// A program as its agent is to run it.
pub(crate) fn exec(options: &EngineOptions, id: ExecId, new: NewExec) -> Result<ExecSpec, Failure> {
    let mut bytes = program(&new.program)?;
    if new.env.len() > ARGS_MAX {
        let problem = format_args!("expected at most {ARGS_MAX} entries");
        return Err(over_args("env", (Limit::Args, ARGS_MAX), problem));
    }
    for (name, value) in &new.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Failure::invalid_field("env", "a name is empty or has = or NUL in it"));
        }
        bytes += argument("env", &[name, "=", value].concat())?;
    }
    if bytes > ARGS_BYTES_MAX {
        let problem = format_args!("with its environment it is over {ARGS_BYTES_MAX} bytes");
        return Err(over_args("command", (Limit::ArgsBytes, ARGS_BYTES_MAX), problem));
    }
    if let Some(workdir) = &new.workdir {
        let path = workdir.parse::<SandboxPath>();
        path.map_err(|error| Failure::invalid_field("workdir", error))?;
    }
    Ok(ExecSpec {
        id,
        program: new.program,
        env: new.env,
        workdir: new.workdir,
        timeout: timeout(options, new.timeout)?,
        grace: options.exec_grace,
        drain: options.exec_drain,
        ring_bytes: options.replay_bytes,
        stdin: new.stdin,
        kill_on_disconnect: new.kill_on_disconnect,
        detached: false,
        tty: new.tty.map(terminal).transpose()?,
        user: new.user.map(user).transpose()?,
    })
}

/// The size of a terminal.
pub(crate) fn terminal(size: TtySize) -> Result<TtySize, Failure> {
    for (field, cells) in [("tty.cols", size.cols), ("tty.rows", size.rows)] {
        if !(1..=TTY_CELLS_MAX).contains(&cells) {
            let (max, problem) = (TTY_CELLS_MAX, format_args!("expected 1 to {TTY_CELLS_MAX}"));
            return Err(match cells {
                0 => Failure::invalid_field(field, problem),
                _ => Failure::field_over_limit(field, Limit::TtyCells, i64::from(max), problem),
            });
        }
    }
    Ok(size)
}

/// A search in files.
pub(crate) fn grep(options: &EngineOptions, grep: &Grep) -> Result<(), Failure> {
    let max = options.max_grep_matches;
    if (1..=max).contains(&grep.limit) {
        return Ok(());
    }
    let problem = format_args!("expected a number from 1 to {max}");
    Err(match grep.limit {
        0 => Failure::invalid_field("limit", problem),
        _ => Failure::field_over_limit("limit", Limit::GrepMatches, i64::from(max), problem),
    })
}

/// The name or number of a user, of which only the sandbox knows the meaning.
fn user(name: String) -> Result<String, Failure> {
    let sane = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if name.is_empty() || name.len() > USER_BYTES_MAX || !sane {
        let problem = format_args!("expected 1 to {USER_BYTES_MAX} visible ASCII characters");
        return Err(Failure::invalid_field("user", problem));
    }
    Ok(name)
}

/// How many bytes the program's arguments take.
fn program(program: &ExecProgram) -> Result<usize, Failure> {
    let count = match program {
        // An empty line is a program that does nothing, as published.
        ExecProgram::Shell(_) => 1,
        ExecProgram::Argv(argv) if argv.first().is_none_or(String::is_empty) => {
            return Err(Failure::invalid_field("command", "must not be empty"));
        }
        ExecProgram::Argv(argv) => argv.len(),
    };
    if count > ARGS_MAX {
        let problem = format_args!("expected at most {ARGS_MAX} arguments");
        return Err(over_args("args", (Limit::Args, ARGS_MAX), problem));
    }
    match program {
        ExecProgram::Shell(line) => argument("command", line),
        ExecProgram::Argv(argv) => argv.iter().map(|arg| argument("command", arg)).sum(),
    }
}

/// How many bytes an argument takes.
fn argument(field: &str, text: &str) -> Result<usize, Failure> {
    if text.contains('\0') {
        return Err(Failure::invalid_field(field, "has a NUL character in it"));
    }
    if text.len() > ARG_BYTES_MAX {
        let problem = format_args!("is over the limit of {ARG_BYTES_MAX} bytes");
        return Err(over_args(field, (Limit::ArgBytes, ARG_BYTES_MAX), problem));
    }
    Ok(text.len() + 1)
}

fn over_args(field: &str, (limit, max): (Limit, usize), problem: impl Display) -> Failure {
    Failure::field_over_limit(field, limit, Detail::count(max), problem)
}

/// How long a program may run; `None` only where nothing limits it.
fn timeout(options: &EngineOptions, asked: Option<Duration>) -> Result<Option<Duration>, Failure> {
    let max = Some(options.max_exec_timeout).filter(|max| !max.is_zero());
    match (asked, max) {
        (Some(asked), _) if asked.is_zero() => {
            Err(Failure::invalid_field("timeout", "must be over 0"))
        }
        (Some(asked), Some(max)) if asked > max => {
            let (asked, max) = (format_duration(asked), format_duration(max));
            let message =
                format!("resource limit exceeded: timeout {asked} exceeds max timeout {max}");
            let failure = Failure::over_limit(Limit::MaxExecTimeout, max, message);
            Err(failure.detail("field", "timeout"))
        }
        (Some(asked), _) => Ok(Some(asked)),
        (None, Some(max)) => Ok(Some(options.default_exec_timeout.unwrap_or(max).min(max))),
        (None, None) => Ok(options.default_exec_timeout),
    }
}

#[cfg(test)]
mod tests;
