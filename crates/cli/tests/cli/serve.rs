//! `serve` as its operator sees it when it cannot start: one clear error, and nothing left.

#![expect(clippy::unwrap_used, reason = "a fixture that fails, fails its test")]

use std::net::TcpListener;

use crate::served::{code, stacyvm, stderr};

/// What `serve` says with these arguments, on a data directory that must not be there afterwards.
fn refused(args: &[&str]) -> String {
    let place = tempfile::tempdir().unwrap();
    let data_dir = place.path().join("data");
    let mut command = stacyvm(&["serve", "--data-dir", data_dir.to_str().unwrap()]);
    let output = command.args(args).env("HOME", place.path()).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(!data_dir.exists());
    stderr(&output).lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(
        refused(&["--listen", &address]),
        format!(
            "error: failed to listen on {address}: the port is taken by another program\n\
             hint: stop the other program, or choose another port with --listen"
        )
    );
}

#[test]
fn an_open_address_without_a_key_is_refused() {
    let error = refused(&["--listen", "0.0.0.0:0"]);
    assert!(error.starts_with("error: failed to listen on 0.0.0.0:0: "), "{error}");
    assert!(error.contains("auth.api_key"), "{error}");
}

#[test]
fn a_configuration_with_a_misspelling_is_refused_before_anything_is_made() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("stacyvm.yaml");
    std::fs::write(&file, "defualts:\n  ttl: 5m\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        refused(&["--config", file]),
        format!(
            "error: failed to read {file}: unknown key `defualts.ttl`; did you mean \
             `defaults.ttl`?\nhint: docs/configuration.md lists every key"
        )
    );
}
