//! Fuzz targets: everything that reads bytes of a client, a guest or a sandbox's user.
//!
//! A target is a function that must not panic and must end soon, whatever it is given; each has a
//! file here and a folder of kept inputs below `corpus/`. `cargo xtask fuzz` runs all of them under
//! libFuzzer (`main` is its program); the test below runs the kept inputs with every other test, so
//! an input that once broke something breaks no more. A crash is kept by copying the file that
//! libFuzzer names into the target's folder.
//!
//! A new reader of foreign bytes (a policy pattern) is a new file and a row in
//! [`TARGETS`].

mod archive;
mod exec_start;
mod frames;
mod glob_pattern;
mod guest_path;
mod preview_host;

/// A reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The folder of its kept inputs.
    pub name: &'static str,
    /// Reads the bytes; a panic is a finding.
    pub run: fn(&[u8]),
}

/// Every target there is, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "archive", run: archive::run },
    Target { name: "exec_start", run: exec_start::run },
    Target { name: "frames", run: frames::run },
    Target { name: "glob_pattern", run: glob_pattern::run },
    Target { name: "guest_path", run: guest_path::run },
    Target { name: "preview_host", run: preview_host::run },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// The two halves of an input for a target that reads two texts: before and after the first NUL.
fn halves(input: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(input).ok()?;
    Some(text.split_once('\0').unwrap_or((text, "")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_has_kept_inputs_and_bears_them() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for target in TARGETS {
            let mut count = 0;
            for entry in fs::read_dir(corpus.join(target.name)).unwrap() {
                (target.run)(&fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{}", target.name);
        }
        let folders = fs::read_dir(corpus).unwrap();
        let folders: BTreeSet<_> =
            folders.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        let names: BTreeSet<_> = TARGETS.iter().map(|it| it.name.to_owned()).collect();
        assert_eq!(folders, names);
    }
}
