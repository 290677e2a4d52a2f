//! Decides whether a request is well-formed before anything acts on it.
//!
//! Pure: looks at no file. The helper trusts none of its requests, so every name, path and number
//! is held against the limits of `wire` here, and the error names the field. Called by `helper`.

use std::path::{Component, Path};

use crate::failure::invalid;
use crate::wire::{
    AGENT_ARGS_BYTES_MAX, AGENT_ARGS_MAX, BIND_SOURCES, BINDS_MAX, CPU_MILLIS_MAX, CPU_MILLIS_MIN,
    Configure, CreateSpec, GENERATION, JailError, LAYERS_MAX, Limits, MEMORY_BYTES_MAX,
    MEMORY_BYTES_MIN, NAME_BYTES_MAX, PATH_BYTES_MAX, PIDS_MAX, PIDS_MIN, Target,
};

type Checked = Result<(), JailError>;

/// Checks who the helper is to work for.
pub fn configure(configure: &Configure) -> Checked {
    if configure.generation != GENERATION {
        let problem = format!("is {}, not {GENERATION}", configure.generation);
        return Err(invalid("generation", &problem));
    }
    name("instance", &configure.instance)?;
    path("state_dir", &configure.state_dir)
}

/// Checks which sandbox is meant.
pub fn target(target: &Target) -> Checked {
    name("target.sandbox", &target.sandbox)
}

/// Checks what to make, all but whether the paths exist.
pub fn create(spec: &CreateSpec, state_dir: &Path) -> Checked {
    target(&spec.target)?;
    name("hostname", &spec.hostname)?;
    layers(spec, state_dir)?;
    binds(spec)?;
    limits(&spec.limits)?;
    arguments(&spec.agent_argv)
}

fn layers(spec: &CreateSpec, state_dir: &Path) -> Checked {
    const FIELD: &str = "image.lower";
    let lower = &spec.image.lower;
    if lower.is_empty() || lower.len() > LAYERS_MAX {
        return Err(invalid(FIELD, &format!("must have 1 to {LAYERS_MAX} layers")));
    }
    for layer in lower {
        path(FIELD, layer)?;
        if layer == state_dir || !layer.starts_with(state_dir) {
            return Err(invalid(FIELD, "must lie beneath the state directory"));
        }
    }
    Ok(())
}

fn binds(spec: &CreateSpec) -> Checked {
    const FIELD: &str = "image.binds";
    let binds = &spec.image.binds;
    if binds.len() > BINDS_MAX {
        return Err(invalid(FIELD, &format!("must be at most {BINDS_MAX}")));
    }
    for (index, bind) in binds.iter().enumerate() {
        if !BIND_SOURCES.iter().any(|source| Path::new(source) == bind.source) {
            let list = BIND_SOURCES.join(", ");
            return Err(invalid(FIELD, &format!("source must be one of {list}")));
        }
        path(FIELD, &bind.target)?;
        if bind.target == Path::new("/") {
            return Err(invalid(FIELD, "target must not be the root"));
        }
        let overlaps =
            |other: &Path| other.starts_with(&bind.target) || bind.target.starts_with(other);
        let earlier = binds[..index].iter().map(|other| other.target.as_path());
        let system = ["/proc", "/sys", "/dev"].into_iter().map(Path::new);
        if earlier.chain(system).any(overlaps) {
            return Err(invalid(FIELD, "target must not overlap another mount"));
        }
    }
    Ok(())
}

fn limits(limits: &Limits) -> Checked {
    let ranges = [
        ("limits.memory_bytes", limits.memory_bytes, MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX),
        ("limits.cpu_millis", limits.cpu_millis, CPU_MILLIS_MIN..=CPU_MILLIS_MAX),
        ("limits.pids", limits.pids, PIDS_MIN..=PIDS_MAX),
    ];
    for (field, value, range) in ranges {
        if !range.contains(&value) {
            let problem = format!("must be {} to {}", range.start(), range.end());
            return Err(invalid(field, &problem));
        }
    }
    Ok(())
}

fn arguments(arguments: &[String]) -> Checked {
    const FIELD: &str = "agent_argv";
    if arguments.is_empty() || arguments.len() > AGENT_ARGS_MAX {
        return Err(invalid(FIELD, &format!("must have 1 to {AGENT_ARGS_MAX} arguments")));
    }
    if arguments.iter().map(String::len).sum::<usize>() > AGENT_ARGS_BYTES_MAX {
        return Err(invalid(FIELD, &format!("must be at most {AGENT_ARGS_BYTES_MAX} bytes")));
    }
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(invalid(FIELD, "must not contain a zero byte"));
    }
    Ok(())
}

/// Whether a string may be an instance's, a sandbox's or a host's name.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn name(field: &str, value: &str) -> Checked {
    if is_name(value) {
        return Ok(());
    }
    Err(invalid(field, &format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -")))
}

fn path(field: &str, value: &Path) -> Checked {
    let bytes = value.as_os_str().as_encoded_bytes();
    let normal = value.components().enumerate().all(|(index, component)| match component {
        Component::RootDir => index == 0,
        Component::Normal(_) => index > 0,
        Component::CurDir | Component::ParentDir | Component::Prefix(_) => false,
    });
    // `components` forgives doubled and trailing slashes and inner dots; the spelling must not.
    let rebuilt: std::path::PathBuf = value.components().collect();
    if normal
        && rebuilt.as_os_str() == value.as_os_str()
        && !bytes.contains(&0)
        && (1..=PATH_BYTES_MAX).contains(&bytes.len())
    {
        return Ok(());
    }
    Err(invalid(field, &format!("must be an absolute, normal path below {PATH_BYTES_MAX} bytes")))
}
