//! Rule: crates depend on each other only as the architecture says.
//!
//! The table is the architecture's. It holds for normal and build dependencies; tests may reach
//! further (the test kit composes everything). So the engine cannot name a driver, the drivers
//! cannot see the database, and the agent cannot pull in the domain.

use serde_json::Value;

use super::finding::Finding;

/// Who may depend on whom, by the names of packages.
const ALLOWED: &[(&str, &[&str])] = &[
    ("stacyvm-model", &[]),
    ("stacyvm-proto", &[]),
    ("stacyvm-api", &[]),
    ("stacyvm-archive", &[]),
    ("stacyvm-store", &["stacyvm-model"]),
    ("stacyvm-provider", &["stacyvm-model", "stacyvm-proto", "stacyvm-archive"]),
    ("stacyvm-native", &["stacyvm-provider", "stacyvm-model", "stacyvm-proto", "stacyvm-jail"]),
    ("stacyvm-agent", &["stacyvm-proto", "stacyvm-archive"]),
    ("stacyvm-jail", &["stacyvm-proto"]),
    ("stacyvm-engine", &["stacyvm-model", "stacyvm-store", "stacyvm-provider"]),
    ("stacyvm-server", &["stacyvm-engine", "stacyvm-api", "stacyvm-model"]),
    ("stacyvm", COMPOSED),
    ("stacyvm-testkit", COMPOSED),
    ("stacyvm-e2e", COMPOSED),
    (
        "stacyvm-fuzz",
        &["stacyvm-agent", "stacyvm-archive", "stacyvm-model", "stacyvm-proto", "stacyvm-server"],
    ),
    ("xtask", &["stacyvm-model"]),
];

/// What the one binary is put together from. Not the agent: it is embedded by the driver.
const COMPOSED: &[&str] = &[
    "stacyvm-api",
    "stacyvm-archive",
    "stacyvm-engine",
    "stacyvm-model",
    "stacyvm-native",
    "stacyvm-provider",
    "stacyvm-server",
    "stacyvm-store",
];

/// The table above, for findings that no manifest can mend.
const TABLE: &str = "xtask/src/tidy/edges.rs";

/// Takes the answer of `cargo metadata --no-deps`.
pub fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut findings: Vec<_> = packages.iter().flat_map(check_package).collect();
    for (name, _) in ALLOWED {
        if !packages.iter().any(|package| package["name"] == *name) {
            findings.push(Finding::of(TABLE, format!("`{name}` is not in the workspace")));
        }
    }
    findings
}

fn check_package(package: &Value) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ALLOWED.iter().find(|(it, _)| *it == name) else {
        return vec![Finding::of(TABLE, format!("`{name}` has no row in the table of edges"))];
    };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = dependencies.iter().filter(|it| it["path"].is_string() && it["kind"] != "dev");
    let names = ours.filter_map(|it| it["name"].as_str());
    let wrong = names.filter(|it| !allowed.contains(it));
    wrong
        .map(|it| Finding::of(manifest(package), format!("`{name}` may not depend on `{it}`")))
        .collect()
}

/// The path of a package's manifest, below the crates' folder where there is one.
fn manifest(package: &Value) -> String {
    let path = package["manifest_path"].as_str().unwrap_or("Cargo.toml");
    path.find("/crates/").map_or(path, |at| &path[at + 1..]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(packages: &Value) -> Vec<String> {
        let findings = check(&json!({ "packages": packages }));
        let lines = findings.iter().map(ToString::to_string);
        lines.filter(|line| !line.ends_with("is not in the workspace")).collect()
    }

    fn package(name: &str, kind: &Value) -> Value {
        json!([{
            "name": name,
            "manifest_path": "/somewhere/crates/engine/Cargo.toml",
            "dependencies": [
                { "name": "stacyvm-native", "path": "/somewhere/crates/native", "kind": kind },
                { "name": "serde", "kind": null },
            ],
        }])
    }

    #[test]
    fn an_engine_that_names_a_driver_is_found() {
        assert_eq!(
            found(&package("stacyvm-engine", &Value::Null)),
            ["crates/engine/Cargo.toml:1: `stacyvm-engine` may not depend on `stacyvm-native`"]
        );
        assert_eq!(found(&package("stacyvm-engine", &json!("build"))).len(), 1);
    }

    #[test]
    fn tests_may_reach_further() {
        assert!(found(&package("stacyvm-engine", &json!("dev"))).is_empty());
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(
            found(&package("stacyvm-new", &json!("dev"))),
            ["xtask/src/tidy/edges.rs:1: `stacyvm-new` has no row in the table of edges"]
        );
    }
}
