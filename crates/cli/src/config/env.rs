//! The environment: which variables are configuration, and what they set.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::file::Values;
use super::keys::{keys, nearest};
use super::value::Value;

/// What every variable of ours begins with.
const PREFIX: &str = "STACYVM_";

/// Variables of ours that are no keys: of the command line, of the client, of tests.
const OTHERS: &[&str] = &["STACYVM_API_KEY", "STACYVM_BIN", "STACYVM_CONFIG", "STACYVM_SERVER"];

/// Beginnings of such variables. An orchestrator that runs a service of our name sets the last
/// three for every program beside it.
const OTHER_BEGINNINGS: &[&str] =
    &["STACYVM_SIM_", "STACYVM_TEST_", "STACYVM_SERVICE_", "STACYVM_PORT_", "STACYVM_PORT="];

/// How errors name the place.
pub const ORIGIN: &str = "the environment";

/// The variable that sets `key`: `server.port` is `STACYVM_SERVER_PORT`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The values that `variables` set, by key.
pub fn read<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Values, ConfigError> {
    let mut values = BTreeMap::new();
    for (name, text) in variables.filter(|(name, _)| is_key(name)) {
        let Some(key) = keys().find(|key| variable(key.name) == name) else {
            let nearest = nearest(name, keys().map(|key| variable(key.name)));
            let key = name.to_owned();
            return Err(ConfigError::UnknownKey { origin: ORIGIN.to_owned(), key, nearest });
        };
        values.insert(key.name.to_owned(), Value::Text(text.to_owned()));
    }
    Ok(values)
}

fn is_key(name: &str) -> bool {
    let whole = format!("{name}=");
    name.starts_with(PREFIX)
        && !OTHERS.contains(&name)
        && !OTHER_BEGINNINGS.iter().any(|beginning| whole.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_sets_the_key_it_is_named_after() {
        let variables = [("PATH", "/bin"), ("STACYVM_AUTH_API_KEY", "k"), ("STACYVM_CONFIG", "x")];
        let values = read(variables.into_iter()).unwrap();
        assert_eq!(values, [("auth.api_key".to_owned(), Value::Text("k".into()))].into());
    }

    #[test]
    fn a_variable_that_sets_nothing_is_refused_with_the_nearest_one() {
        let error = read([("STACYVM_DEFUALTS_TTL", "5m")].into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read the environment: unknown key `STACYVM_DEFUALTS_TTL`; \
             did you mean `STACYVM_DEFAULTS_TTL`?"
        );
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let names = [
            "STACYVM_API_KEY",
            "STACYVM_SERVER",
            "STACYVM_SIM_SEEDS",
            "STACYVM_SERVICE_HOST",
            "STACYVM_PORT",
            "STACYVM_PORT_7423_TCP",
            "STACYVMX",
        ];
        assert_eq!(read(names.map(|name| (name, "x")).into_iter()).unwrap(), BTreeMap::new());
    }
}
