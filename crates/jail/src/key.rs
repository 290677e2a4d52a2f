//! The name of one life of a sandbox on the host: `<sandbox>.<incarnation>`.
//!
//! Directories, cgroups and claims all carry it, so that whatever is found can be told to whom it
//! belongs. Pure.

use crate::check;
use crate::wire::Target;

/// The name of a target's directory and cgroups.
pub fn key_of(target: &Target) -> String {
    format!("{}.{}", target.sandbox, target.incarnation)
}

/// The target with this name, if it is one that `key_of` writes.
pub fn target_of(key: &str) -> Option<Target> {
    let (sandbox, incarnation) = key.rsplit_once('.')?;
    let target = Target { sandbox: sandbox.to_owned(), incarnation: incarnation.parse().ok()? };
    (check::is_name(sandbox) && key_of(&target) == key).then_some(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_names_are_no_keys() {
        for name in ["", ".", "a", "a.", ".1", "a.01", "a.+1", "A.1", "a.b.1", "a.4294967296"] {
            assert_eq!(target_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_key_gives_its_target_back(sandbox in "[a-z0-9-]{1,64}", incarnation: u32) {
            let target = Target { sandbox, incarnation };
            prop_assert_eq!(target_of(&key_of(&target)), Some(target));
        }
    }
}
