//! Configuration: the options of every crate, filled from defaults, then one file, then the
//! environment. The command line's own flags come on top, in the commands.
//!
//! Only `serve` and a `run` without a server read it; the other commands know a server's address
//! and a key.

mod env;
mod error;
mod file;
mod keys;
mod limit_keys;
#[cfg(test)]
mod tests;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use engine::EngineOptions;
use model::Limit;
use secrecy::SecretString;
use server::ServerOptions;
use tracing_subscriber::filter::LevelFilter;

use crate::surroundings::Surroundings;
pub use error::ConfigError;
use file::Values;
use keys::{Key, keys, nearest};
use value::Value;

/// A key is a line; more is the wrong file.
const SECRET_BYTES_MAX: u64 = 4096;

/// Everything that an operator can decide.
#[derive(Debug)]
pub struct Config {
    /// Where the state is kept, if that was decided.
    pub data_dir: Option<PathBuf>,
    /// The database's file, if that was decided.
    pub database_path: Option<PathBuf>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Whether the native provider is offered.
    pub native_enabled: bool,
    /// What is logged.
    pub log_level: LevelFilter,
    /// How it is written.
    pub log_format: LogFormat,
    /// The HTTP server's options.
    pub server: ServerOptions,
    /// The control plane's options.
    pub engine: EngineOptions,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Pretty,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            database_path: None,
            api_key_file: None,
            native_enabled: true,
            log_level: LevelFilter::INFO,
            log_format: LogFormat::Json,
            server: ServerOptions::default(),
            engine: EngineOptions::default(),
        }
    }
}

/// Reads the configuration: the file `named`, else the first one there is, then the environment.
pub fn load(named: Option<&Path>, around: &Surroundings) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    if let Some((path, values)) = find(named, around)? {
        apply(&mut config, &path.display().to_string(), values)?;
    }
    apply(&mut config, env::ORIGIN, env::read(around.variables())?)?;
    if let Some(path) = config.api_key_file.clone() {
        if config.server.api_key.is_some() {
            return Err(ConfigError::TwoSecrets);
        }
        let key = secret(&path).map_err(|source| ConfigError::SecretFile { path, source })?;
        config.server.api_key = Some(key);
    }
    check(&config)?;
    Ok(config)
}

fn find(
    named: Option<&Path>,
    around: &Surroundings,
) -> Result<Option<(PathBuf, Values)>, ConfigError> {
    if let Some(path) = named {
        let missing = || ConfigError::Unreadable {
            path: path.to_path_buf(),
            source: rustix::io::Errno::NOENT.into(),
        };
        let values = file::read(path)?.ok_or_else(missing)?;
        return Ok(Some((path.to_path_buf(), values)));
    }
    for path in file::candidates(&around.directory, around.home.as_deref()) {
        if let Some(values) = file::read(&path)? {
            return Ok(Some((path, values)));
        }
    }
    Ok(None)
}

fn apply(config: &mut Config, origin: &str, values: Values) -> Result<(), ConfigError> {
    for (name, value) in values {
        let Some(key) = keys().find(|key| key.name == name) else {
            let nearest = nearest(&name, keys().map(|key| key.name.to_owned()));
            return Err(ConfigError::UnknownKey { origin: origin.to_owned(), key: name, nearest });
        };
        (key.read)(config, &value).ok_or_else(|| refused(origin, key, &value))?;
    }
    Ok(())
}

fn refused(origin: &str, key: &Key, value: &Value) -> ConfigError {
    let name = if origin == env::ORIGIN { env::variable(key.name) } else { key.name.to_owned() };
    let found = if key.secret { "something else".to_owned() } else { value.shown() };
    ConfigError::Value { origin: origin.to_owned(), key: name, expected: key.form, found }
}

/// What no single key can say.
fn check(config: &Config) -> Result<(), ConfigError> {
    let Config { engine, .. } = config;
    if engine.default_ttl > engine.max_ttl {
        return Err(ConfigError::AboveLimit { key: "defaults.ttl", limit: "defaults.max_ttl" });
    }
    for (key, limit, is_above) in [
        ("defaults.memory_mb", Limit::MemoryMib, engine.default_memory_mib > engine.max_memory_mib),
        ("defaults.vcpus", Limit::Vcpus, engine.default_vcpus > engine.max_vcpus),
    ] {
        if is_above {
            return Err(ConfigError::AboveLimit { key, limit: limit.name() });
        }
    }
    let capped = !engine.max_exec_timeout.is_zero();
    if capped && engine.default_exec_timeout > Some(engine.max_exec_timeout) {
        let (key, limit) = ("defaults.default_exec_timeout", "defaults.max_exec_timeout");
        return Err(ConfigError::AboveLimit { key, limit });
    }
    if !config.native_enabled {
        return Err(ConfigError::NoProvider);
    }
    Ok(())
}

/// The text of the file without the line's end.
fn secret(path: &Path) -> io::Result<SecretString> {
    let mut text = String::new();
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is too long for a key"));
    }
    let key = text.trim();
    if key.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(key.into())
}
