//! Rule: links and paths in the Markdown pages lead somewhere.
//!
//! A link is checked against the files of the workspace, with its heading when it names one. A
//! code span that looks like a path of ours (it begins with a folder of the root) has to exist as
//! well. Addresses of the web are not fetched, and fenced code is not read.

use std::path::{Component, Path, PathBuf};

use super::finding::Finding;
use super::tree::{File, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.files().filter(|file| file.is("md")).flat_map(|page| check_page(tree, page)).collect()
}

fn check_page(tree: &Tree, page: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&page.text) {
        let (prose, spans) = split_spans(line);
        let broken = targets(&prose).into_iter().filter_map(|it| broken_link(tree, page, it));
        findings.extend(broken.map(|message| Finding::at(&page.path, number, message)));
        let missing = spans.iter().filter_map(|span| missing_path(tree, span));
        findings.extend(missing.map(|message| Finding::at(&page.path, number, message)));
    }
    findings
}

/// The numbered lines outside fenced code.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        if !fence && !fenced {
            lines.push((index + 1, line));
        }
        fenced ^= fence;
    }
    lines
}

/// A line without its code spans, and the code spans.
fn split_spans(line: &str) -> (String, Vec<&str>) {
    let parts: Vec<_> = line.split('`').collect();
    let prose: Vec<_> = parts.iter().step_by(2).copied().collect();
    (prose.join("`"), parts.iter().skip(1).step_by(2).copied().collect())
}

/// The targets of `[text](target)` and of `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        rest.split_once(')').map(|(target, _)| target.split(' ').next().unwrap_or_default())
    });
    let named = line.strip_prefix('[').and_then(|it| it.split_once("]: ")).map(|(_, it)| it.trim());
    inline.chain(named).filter(|target| !target.is_empty()).collect()
}

fn broken_link(tree: &Tree, page: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let Some(path) = resolve(if path.starts_with('/') { Path::new("") } else { folder }, path)
    else {
        return Some(format!("the link `{target}` leads out of the project"));
    };
    let path = if target.starts_with('#') { page.path.clone() } else { path };
    if !tree.has(&path) {
        return Some(format!("the link `{target}` leads nowhere"));
    }
    let page = tree.file(&path).filter(|file| !heading.is_empty() && file.is("md"))?;
    let known = headings(&page.text).iter().any(|it| it == heading);
    (!known).then(|| format!("the link `{target}` names a heading that is not there"))
}

/// A path without `.` and `..`; `None` when it climbs above the root.
fn resolve(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut resolved = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(resolved)
}

/// The anchors that a page offers, as the usual renderers make them.
fn headings(text: &str) -> Vec<String> {
    let lines = prose(text).into_iter().map(|(_, line)| line);
    let titles = lines.filter(|line| line.starts_with('#'));
    let anchor = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    titles.map(anchor).collect()
}

/// A code span is taken for a path when it begins with a folder of the root and has no other
/// signs than paths have.
fn missing_path(tree: &Tree, span: &str) -> Option<String> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '/' | '.' | '-' | '_');
    let (first, _) = span.split_once('/')?;
    let ours = !first.is_empty() && first != "." && tree.has(Path::new(first));
    if !ours || !span.chars().all(plain) {
        return None;
    }
    let found = resolve(Path::new(""), span).is_some_and(|path| tree.has(&path));
    (!found).then(|| format!("the path `{span}` is not there"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::found_in;
    use super::*;

    const OTHER: (&str, &str) = ("docs/other.md", "# Other page\n\n## What `run` does\n");

    fn found(text: &str) -> Vec<String> {
        found_in(check, &[("docs/page.md", text), OTHER, ("README.md", "")])
    }

    #[test]
    fn links_that_resolve_are_fine() {
        let text = "# Page\n[a](other.md) [b](other.md#what-run-does) [c](../README.md)\n\
                    [d](#page) [e](https://example.org/x) `docs/other.md` `docs/<name>.md` `cargo/x`\n\
                    [f]: other.md\n```\n[g](nowhere.md)\n```\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn links_and_paths_that_lead_nowhere_are_found() {
        assert_eq!(
            found("\nsee [a](gone.md)"),
            ["docs/page.md:2: the link `gone.md` leads nowhere"]
        );
        assert_eq!(
            found("[a](other.md#gone)"),
            ["docs/page.md:1: the link `other.md#gone` names a heading that is not there"]
        );
        assert_eq!(
            found("[a](../../x.md)"),
            ["docs/page.md:1: the link `../../x.md` leads out of the project"]
        );
        assert_eq!(
            found("in `docs/gone.md`"),
            ["docs/page.md:1: the path `docs/gone.md` is not there"]
        );
    }
}
