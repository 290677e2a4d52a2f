//! The whole configuration: precedence, refusals, defaults, and the page that describes it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("work")).unwrap();
        fs::create_dir_all(place.path().join("home/.stacyvm")).unwrap();
        Self(place)
    }

    fn write(self, path: &str, text: &str) -> Self {
        fs::write(self.0.path().join(path), text).unwrap();
        self
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, String> {
        let (work, home) = (self.0.path().join("work"), self.0.path().join("home"));
        load(None, &Surroundings::with(work, home, variables))
            .map_err(|error| error.to_string().replace(&*self.0.path().to_string_lossy(), ""))
    }
}

fn refused(text: &str) -> String {
    Place::new().write("work/stacyvm.yaml", text).load(&[]).unwrap_err()
}

#[test]
fn without_a_file_and_variables_the_defaults_are_safe() {
    let config = Place::new().load(&[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7423");
    assert!(config.server.cors_allowed_origins.is_empty());
    assert!(config.server.api_key.is_none());
    assert_eq!(config.engine.default_image, "host");
    assert_eq!(config.engine.default_provider, "native");
}

#[test]
fn the_file_in_the_working_directory_hides_the_one_at_home() {
    let place = Place::new()
        .write("work/stacyvm.yaml", "server:\n  port: 1000\n")
        .write("home/.stacyvm/config.yaml", "server:\n  port: 2000\n  host: 127.0.0.2\n");
    let config = place.load(&[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:1000");
}

#[test]
fn the_file_at_home_counts_when_it_is_alone() {
    let place = Place::new().write("home/.stacyvm/config.yaml", "defaults: {ttl: 5m}\n");
    assert_eq!(place.load(&[]).unwrap().engine.default_ttl, Duration::from_mins(5));
}

#[test]
fn the_environment_comes_after_the_file() {
    let place = Place::new().write("work/stacyvm.yaml", "server:\n  port: 1000\n");
    let variables = [
        ("STACYVM_SERVER_PORT", "3000"),
        ("STACYVM_SERVER_CORS_ALLOWED_ORIGINS", "http://a,http://b"),
        ("STACYVM_DATA_DIR", "/d"),
    ];
    let config = place.load(&variables).unwrap();
    assert_eq!(config.server.listen.port(), 3000);
    assert_eq!(config.server.cors_allowed_origins, ["http://a", "http://b"]);
    assert_eq!(config.data_dir, Some(PathBuf::from("/d")));
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let around = Surroundings::with("/".into(), "/".into(), &[]);
    let error = load(Some(Path::new("/nonexistent/x.yaml")), &around).unwrap_err();
    assert_eq!(error.to_string(), "read /nonexistent/x.yaml");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    assert_eq!(
        refused("defualts:\n  ttl: 5m\n"),
        "read /work/stacyvm.yaml: unknown key `defualts.ttl`; did you mean `defaults.ttl`?"
    );
    assert_eq!(
        refused("rate_limit:\n  enabled: true\n"),
        "read /work/stacyvm.yaml: unknown key `rate_limit.enabled`"
    );
}

#[test]
fn a_value_of_the_wrong_form_is_refused_with_what_was_expected() {
    for (text, expected) in [
        ("server: {port: 70000}", "`server.port`: expected a port from 0 to 65535, found `70000`"),
        ("server: {port: -1}", "`server.port`: expected a port from 0 to 65535, found `-1`"),
        (
            "server: {host: example.com}",
            "`server.host`: expected an IP address or localhost, found `example.com`",
        ),
        (
            "defaults: {ttl: 30}",
            "`defaults.ttl`: expected a duration above zero, such as 30m or 1h30m, found `30`",
        ),
        (
            "defaults: {ttl: 0s}",
            "`defaults.ttl`: expected a duration above zero, such as 30m or 1h30m, found `0s`",
        ),
        (
            "defaults: {memory_mb: 0}",
            "`defaults.memory_mb`: expected a whole number of MiB above zero, found `0`",
        ),
        (
            "defaults: {vcpus: [1]}",
            "`defaults.vcpus`: expected a whole number above zero, found a list",
        ),
        ("defaults: {image:}", "`defaults.image`: expected the name of an image, found nothing"),
        (
            "database: {driver: postgres}",
            "`database.driver`: expected sqlite, the only database of this version, \
             found `postgres`",
        ),
        (
            "logging: {level: INFO}",
            "`logging.level`: expected off, error, warn, info, debug or trace, found `INFO`",
        ),
        (
            "providers: {default: docker}",
            "`providers.default`: expected the name of an enabled provider: native, \
             found `docker`",
        ),
    ] {
        assert_eq!(refused(text), format!("read /work/stacyvm.yaml: {expected}"));
    }
    assert_eq!(
        Place::new().load(&[("STACYVM_SERVER_PORT", "x")]).unwrap_err(),
        "read the environment: `STACYVM_SERVER_PORT`: expected a port from 0 to 65535, found `x`"
    );
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    assert_eq!(
        refused("defaults: {ttl: 2h, max_ttl: 1h}"),
        "use `defaults.ttl`: it is above `defaults.max_ttl`"
    );
    assert_eq!(
        refused("defaults: {default_exec_timeout: 2h}"),
        "use `defaults.default_exec_timeout`: it is above `defaults.max_exec_timeout`"
    );
    let unlimited = "defaults: {default_exec_timeout: 2h, max_exec_timeout: 0s}";
    assert!(Place::new().write("work/stacyvm.yaml", unlimited).load(&[]).is_ok());
    assert_eq!(
        refused("providers: {native: {enabled: false}}"),
        "make sandboxes: no provider is enabled"
    );
}

#[test]
fn a_key_comes_from_its_file_and_not_from_two_places() {
    let place = Place::new().write("key", "s3cret\n");
    let file = place.0.path().join("key").display().to_string();
    let variable = ("STACYVM_AUTH_API_KEY_FILE", file.as_str());
    let config = place.load(&[variable]).unwrap();
    assert_eq!(config.server.api_key.unwrap().expose_secret(), "s3cret");
    let error = place.load(&[variable, ("STACYVM_AUTH_API_KEY", "other")]).unwrap_err();
    assert_eq!(error, "choose between `auth.api_key` and `auth.api_key_file`: both are set");
    let place = place.write("key", "\n");
    let error = place.load(&[variable]).unwrap_err();
    assert_eq!(error, "read the key in /key (auth.api_key_file)");
}

#[test]
fn no_secret_is_in_an_error_or_in_a_debug_text() {
    let error = refused("auth:\n  api_key: [hunter2]\n");
    assert!(!error.contains("hunter2"), "{error}");
    let config = Place::new().load(&[("STACYVM_AUTH_API_KEY", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn every_default_reads_back() {
    let defaults = Config::default();
    for key in keys() {
        let shown = (key.show)(&defaults);
        if shown.is_empty() {
            continue;
        }
        let mut config = Config::default();
        assert_eq!((key.read)(&mut config, &Value::Text(shown.clone())), Some(()), "{}", key.name);
        assert_eq!((key.show)(&config), shown, "{}", key.name);
    }
}

#[test]
fn a_limit_of_zero_or_beyond_sense_is_refused_with_its_range() {
    let absurd = ["0", "0s", "999999999999999", "9999999h"];
    for key in limit_keys::LIMIT_KEYS {
        assert!(key.form.contains(" from ") && key.form.contains(" to "), "{}", key.name);
        for value in absurd {
            let mut config = Config::default();
            let read = (key.read)(&mut config, &Value::Text(value.to_owned()));
            assert_eq!(read, None, "{} takes {value}", key.name);
        }
    }
    assert_eq!(
        refused("limits: {execs: 0}"),
        "read /work/stacyvm.yaml: `limits.execs`: expected a whole number from 1 to 256, found `0`"
    );
    assert_eq!(
        refused("limits: {vcpus: 1}\ndefaults: {vcpus: 2}"),
        "use `defaults.vcpus`: it is above `limits.vcpus`"
    );
}

#[test]
fn every_limit_that_an_operator_sets_is_a_key() {
    let set = |limit: &&Limit| limit.set_by() == model::limit::SetBy::Operator;
    for limit in Limit::ALL.iter().filter(set) {
        assert!(keys().any(|key| key.name == limit.name()), "{}", limit.name());
    }
}

#[test]
fn the_page_about_configuration_has_every_key() {
    let mut table = String::from("| key | value | default | |\n|---|---|---|---|\n");
    for key in keys() {
        let shown = (key.show)(&Config::default());
        let default = if shown.is_empty() { "–".to_owned() } else { format!("`{shown}`") };
        let variable = env::variable(key.name);
        writeln!(
            table,
            "| `{}`<br>`{variable}` | {} | {default} | {} |",
            key.name, key.form, key.about
        )
        .unwrap();
    }
    crate::page::check("configuration.md", "keys", &table);
}
