//! The one table of configuration keys: name, form, meaning, reader, and how the value is shown.
//!
//! Defaults stand where the options are defined, in the crates that use them; the page
//! `docs/configuration.md` is checked against this table.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use model::format_duration;
use tracing_subscriber::filter::LevelFilter;

use super::limit_keys::LIMIT_KEYS;
use super::value::Value;
use super::{Config, LogFormat};

/// A configuration key.
pub struct Key {
    /// Its dotted name.
    pub name: &'static str,
    /// What its value has to be: completes "expected …".
    pub form: &'static str,
    /// What it decides.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page is checked against it"))]
    pub about: &'static str,
    /// Whether its value may never be shown.
    pub secret: bool,
    /// Puts the value where it is used, or refuses it.
    pub read: fn(&mut Config, &Value) -> Option<()>,
    /// The value as the page shows it; empty for none.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page is checked against it"))]
    pub show: fn(&Config) -> String,
}

const DURATION: &str = "a duration above zero, such as 30m or 1h30m";
const DURATION_OR_ZERO: &str = "a duration, such as 30s or 10m; 0s for none";
const COUNT: &str = "a whole number; 0 for no limit";

/// Every key, in the order of the page.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(LIMIT_KEYS)
}

/// All but the limits.
const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        form: "a directory",
        about: "Where the server keeps its state. Made when it is missing. \
                Default: `/var/lib/stacyvm` for root, else `~/.stacyvm/data`.",
        secret: false,
        read: |config, value| {
            value.text().map(|text| config.data_dir = optional(text).map(PathBuf::from))
        },
        show: |config| path(config.data_dir.as_ref()),
    },
    Key {
        name: "server.host",
        form: "an IP address or localhost",
        about: "The address to listen on. One that other machines reach needs `auth.api_key`.",
        secret: false,
        read: |config, value| {
            config.server.listen.set_ip(ip(value.text()?)?);
            Some(())
        },
        show: |config| config.server.listen.ip().to_string(),
    },
    Key {
        name: "server.port",
        form: "a port from 0 to 65535",
        about: "The port to listen on; 0 takes any free one.",
        secret: false,
        read: |config, value| {
            config.server.listen.set_port(value.number(0..=u16::MAX)?);
            Some(())
        },
        show: |config| config.server.listen.port().to_string(),
    },
    Key {
        name: "server.preview_domain",
        form: "a domain, with a port if it is not 80",
        about: "Port N of a sandbox is at `http://N-<id>.<preview_domain>`. \
                `localhost` without a port gets the server's.",
        secret: false,
        read: |config, value| {
            config.server.preview_domain = filled(value)?;
            Some(())
        },
        show: |config| config.server.preview_domain.clone(),
    },
    Key {
        name: "server.cors_allowed_origins",
        form: "a list of origins, such as http://localhost:3000",
        about: "Web pages of these origins may call the API; `*` is any.",
        secret: false,
        read: |config, value| {
            config.server.cors_allowed_origins = value.texts()?;
            Some(())
        },
        show: |config| config.server.cors_allowed_origins.join(","),
    },
    Key {
        name: "providers.default",
        form: "the name of an enabled provider: native",
        about: "The provider of sandboxes that name none.",
        secret: false,
        read: |config, value| {
            let name = value.text().filter(|name| *name == native::NAME)?;
            name.clone_into(&mut config.engine.default_provider);
            Some(())
        },
        show: |config| config.engine.default_provider.clone(),
    },
    Key {
        name: "providers.native.enabled",
        form: "true or false",
        about: "Sandboxes from Linux namespaces on this host.",
        secret: false,
        read: |config, value| {
            config.native_enabled = value.flag()?;
            Some(())
        },
        show: |config| config.native_enabled.to_string(),
    },
    Key {
        name: "defaults.ttl",
        form: DURATION,
        about: "How long a sandbox lives that names no `ttl`.",
        secret: false,
        read: |config, value| {
            config.engine.default_ttl = value.positive_duration()?;
            Some(())
        },
        show: |config| format_duration(config.engine.default_ttl),
    },
    Key {
        name: "defaults.max_ttl",
        form: DURATION,
        about: "The longest `ttl` that a sandbox may ask for, also when it is extended.",
        secret: false,
        read: |config, value| {
            config.engine.max_ttl = value.positive_duration()?;
            Some(())
        },
        show: |config| format_duration(config.engine.max_ttl),
    },
    Key {
        name: "defaults.image",
        form: "the name of an image",
        about: "The image of sandboxes that name none.",
        secret: false,
        read: |config, value| {
            config.engine.default_image = filled(value)?;
            Some(())
        },
        show: |config| config.engine.default_image.clone(),
    },
    Key {
        name: "defaults.memory_mb",
        form: "a whole number of MiB above zero",
        about: "The memory of sandboxes that name none, in MiB.",
        secret: false,
        read: |config, value| {
            config.engine.default_memory_mib = value.number(1..=u32::MAX)?;
            Some(())
        },
        show: |config| config.engine.default_memory_mib.to_string(),
    },
    Key {
        name: "defaults.vcpus",
        form: "a whole number above zero",
        about: "The processor cores of sandboxes that name none.",
        secret: false,
        read: |config, value| {
            config.engine.default_vcpus = value.number(1..=u32::MAX)?;
            Some(())
        },
        show: |config| config.engine.default_vcpus.to_string(),
    },
    Key {
        name: "defaults.default_exec_timeout",
        form: DURATION_OR_ZERO,
        about: "The timeout of programs that are started without one. \
                With `0s` only `defaults.max_exec_timeout` ends them.",
        secret: false,
        read: |config, value| {
            let timeout = value.duration()?;
            config.engine.default_exec_timeout = (!timeout.is_zero()).then_some(timeout);
            Some(())
        },
        show: |config| {
            format_duration(config.engine.default_exec_timeout.unwrap_or(Duration::ZERO))
        },
    },
    Key {
        name: "defaults.max_exec_timeout",
        form: DURATION_OR_ZERO,
        about: "The longest that a program may run; `0s` is for ever.",
        secret: false,
        read: |config, value| {
            config.engine.max_exec_timeout = value.duration()?;
            Some(())
        },
        show: |config| format_duration(config.engine.max_exec_timeout),
    },
    Key {
        name: "defaults.max_sandboxes",
        form: COUNT,
        about: "How many sandboxes there may be; 0 is no limit.",
        secret: false,
        read: |config, value| {
            config.engine.max_sandboxes = value.number(0..=u32::MAX)?;
            Some(())
        },
        show: |config| config.engine.max_sandboxes.to_string(),
    },
    Key {
        name: "defaults.max_sandboxes_per_owner",
        form: COUNT,
        about: "How many sandboxes one owner may have; 0 is no limit.",
        secret: false,
        read: |config, value| {
            config.engine.max_sandboxes_per_owner = value.number(0..=u32::MAX)?;
            Some(())
        },
        show: |config| config.engine.max_sandboxes_per_owner.to_string(),
    },
    Key {
        name: "auth.api_key",
        form: "a key as text; in a file put it in quotes",
        about: "The key that every request needs. \
                Without one, the server listens on loopback only.",
        secret: true,
        read: |config, value| {
            value.text().map(|text| config.server.api_key = optional(text).map(Into::into))
        },
        show: |_| String::new(),
    },
    Key {
        name: "auth.api_key_file",
        form: "a file",
        about: "A file that holds `auth.api_key` and nothing else, instead of that.",
        secret: false,
        read: |config, value| {
            value.text().map(|text| config.api_key_file = optional(text).map(PathBuf::from))
        },
        show: |config| path(config.api_key_file.as_ref()),
    },
    Key {
        name: "auth.admin_api_key",
        form: "a key as text; in a file put it in quotes",
        about: "A second key, accepted wherever the first one is.",
        secret: true,
        read: |config, value| {
            value.text().map(|text| config.server.admin_api_key = optional(text).map(Into::into))
        },
        show: |_| String::new(),
    },
    Key {
        name: "database.driver",
        form: "sqlite, the only database of this version",
        about: "The kind of database.",
        secret: false,
        read: |_, value| match value.text()? {
            "sqlite" | "sqlite3" => Some(()),
            _ => None,
        },
        show: |_| "sqlite".to_owned(),
    },
    Key {
        name: "database.path",
        form: "a file",
        about: "The database's file. Default: `stacyvm.db` in the data directory.",
        secret: false,
        read: |config, value| {
            value.text().map(|text| config.database_path = optional(text).map(PathBuf::from))
        },
        show: |config| path(config.database_path.as_ref()),
    },
    Key {
        name: "logging.level",
        form: "off, error, warn, info, debug or trace",
        about: "What the server logs, to standard error.",
        secret: false,
        read: |config, value| {
            config.log_level = level(value.text()?)?;
            Some(())
        },
        show: |config| config.log_level.to_string(),
    },
    Key {
        name: "logging.format",
        form: "json or pretty",
        about: "One JSON object a line, or text for people.",
        secret: false,
        read: |config, value| {
            config.log_format = match value.text()? {
                "json" => LogFormat::Json,
                "pretty" => LogFormat::Pretty,
                _ => return None,
            };
            Some(())
        },
        show: |config| match config.log_format {
            LogFormat::Json => "json".to_owned(),
            LogFormat::Pretty => "pretty".to_owned(),
        },
    },
];

/// The one of `known` that `word` is probably a misspelling of.
pub fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.75;
    let scored = known.map(|key| (strsim::normalized_damerau_levenshtein(word, &key), key));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

fn path(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// An empty text is none: that is how published configurations switch a key off.
fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn filled(value: &Value) -> Option<String> {
    value.text().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn ip(text: &str) -> Option<IpAddr> {
    if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() }
}

fn level(text: &str) -> Option<LevelFilter> {
    text.parse().ok().filter(|level: &LevelFilter| level.to_string() == text)
}
