//! `cargo xtask tidy`: the rules of the code that neither the compiler nor clippy holds.
//!
//! Every rule is a file here with one function, from what was read to findings; this file lists
//! them, sorts what they found and prints it. Rules never change a file. All findings are shown at
//! once, as `path:line: message`. The same check runs as a test below.

mod commands;
mod config_keys;
mod contracts;
mod edges;
mod error_pages;
mod error_tests;
mod finding;
mod forbidden;
mod headers;
mod lengths;
mod links;
mod manifests;
mod names;
mod rust_text;
mod tree;
mod unsafe_blocks;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::workspace::Workspace;

use self::finding::Finding;
use self::tree::Tree;

/// Prints every finding; the exit code says whether there was one.
pub fn run(workspace: &Workspace) -> Result<ExitCode, Failure> {
    let findings = check(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

/// All findings of all rules, in the order of files and lines.
fn check(workspace: &Workspace) -> Result<Vec<Finding>, Failure> {
    let tree = Tree::read(&workspace.root)?;
    let rules = [
        commands::check,
        config_keys::check,
        contracts::check,
        error_pages::check,
        error_tests::check,
        forbidden::check,
        headers::check,
        lengths::check,
        links::check,
        manifests::check,
        names::check,
        unsafe_blocks::check,
    ];
    let mut findings: Vec<_> = rules.iter().flat_map(|rule| rule(&tree)).collect();
    findings.extend(edges::check(&workspace.metadata));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let workspace = Workspace::load().unwrap();
        let findings = check(&workspace).unwrap();
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
