//! The configuration file: which one it is, and what is in it, still without meaning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::value::Value;

/// Values by their dotted keys.
pub type Values = BTreeMap<String, Value>;

/// A configuration is a few kilobytes; more is the wrong file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a file is looked for when none is named, in this order; the first one counts alone.
pub fn candidates(directory: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = vec![directory.join("stacyvm.yaml")];
    paths.extend(home.map(|home| home.join(".stacyvm/config.yaml")));
    paths
}

/// The values of the file at `path`, by key; `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<Values>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), limit: FILE_BYTES_MAX });
    }
    parse(path, &text).map(Some)
}

/// The values of a YAML text. Snippets are left out of errors: a secret may stand beside the
/// mistake.
fn parse(path: &Path, text: &str) -> Result<Values, ConfigError> {
    let syntax = |problem: String| ConfigError::Syntax { path: path.to_path_buf(), problem };
    let options = serde_saphyr::options! { with_snippet: false };
    let root: Option<serde_json::Value> =
        serde_saphyr::from_str_with_options(text, options).map_err(|it| syntax(it.to_string()))?;
    let mut values = BTreeMap::new();
    match root {
        None | Some(serde_json::Value::Null) => {}
        Some(serde_json::Value::Object(sections)) => {
            for (name, value) in sections {
                flatten(&path.display().to_string(), name, value, &mut values)?;
            }
        }
        Some(_) => return Err(syntax("expected sections with keys".to_owned())),
    }
    Ok(values)
}

/// Adds `value` under its dotted key. A section without anything in it says nothing.
fn flatten(
    origin: &str,
    key: String,
    value: serde_json::Value,
    values: &mut Values,
) -> Result<(), ConfigError> {
    if let serde_json::Value::Object(section) = value {
        for (name, value) in section {
            flatten(origin, format!("{key}.{name}"), value, values)?;
        }
        return Ok(());
    }
    if values.contains_key(&key) {
        return Err(ConfigError::Twice { origin: origin.to_owned(), key });
    }
    values.insert(key, leaf(value));
    Ok(())
}

fn leaf(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Bool(flag) => Value::Flag(flag),
        serde_json::Value::Number(number) => Value::Number(number.to_string()),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(values) => Value::List(values.into_iter().map(leaf).collect()),
        serde_json::Value::Null | serde_json::Value::Object(_) => Value::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<String, Value>, String> {
        parse(Path::new("stacyvm.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn sections_become_dotted_keys() {
        let values =
            parsed("server:\n  port: 7000\n  cors_allowed_origins: [a]\ndefaults.ttl: 5m\n")
                .unwrap();
        let expected = [
            ("defaults.ttl", Value::Text("5m".into())),
            ("server.cors_allowed_origins", Value::List(vec![Value::Text("a".into())])),
            ("server.port", Value::Number("7000".into())),
        ];
        assert_eq!(values, expected.map(|(key, value)| (key.to_owned(), value)).into());
    }

    #[test]
    fn a_file_with_nothing_in_it_says_nothing() {
        for text in ["", "# only a comment\n", "---\n", "{}"] {
            assert_eq!(parsed(text), Ok(BTreeMap::new()), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_sections_with_keys_is_refused() {
        for text in ["- a\n- b\n", "just text", "a: [", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n"] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with("read stacyvm.yaml: "), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_key_in_both_spellings_is_refused() {
        let error = parsed("server:\n  port: 1\nserver.port: 2\n").unwrap_err();
        assert_eq!(error, "read stacyvm.yaml: `server.port` is given twice");
    }

    #[test]
    fn a_mistake_beside_a_secret_does_not_show_it() {
        let error = parsed("auth:\n  api_key: hunter2\n  api_key: hunter2\n").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = parsed("auth:\n  api_key: \"hunter2\n").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn aliases_that_grow_without_bound_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            text.extend([format!("a{level}: &a{level} [{below}]\n")]);
        }
        assert!(parsed(&text).is_err());
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_without_being_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stacyvm.yaml");
        std::fs::write(&path, vec![b'#'; 2 * 1024 * 1024]).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::TooLarge { .. })));
        assert!(matches!(read(&directory.path().join("none.yaml")), Ok(None)));
        assert!(matches!(read(directory.path()), Err(ConfigError::Unreadable { .. })));
    }
}
