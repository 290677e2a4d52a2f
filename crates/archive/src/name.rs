//! The names of members: which may be unpacked, and to where.

/// The longest path of a member in bytes: the kernel's own limit.
pub const PATH_BYTES_MAX: usize = 4095;

/// The longest part of a path in bytes: the limit of every file system in use.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a member's path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It may not be unpacked, for this reason.
    Forbidden(&'static str),
    /// It is over a limit.
    Long(&'static str, usize),
}

/// The path in its plain form: names with a slash between them, none of them empty, `.` or `..`;
/// empty for the directory itself.
pub(crate) fn plain(path: &[u8]) -> Result<Vec<u8>, Bad> {
    if path.is_empty() {
        return Err(Bad::Forbidden("it has no name"));
    }
    if path.starts_with(b"/") {
        return Err(Bad::Forbidden("its path is absolute"));
    }
    if path.contains(&0) {
        return Err(Bad::Forbidden("its path has a NUL in it"));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(Bad::Long("path_bytes", PATH_BYTES_MAX));
    }
    let mut plain = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(Bad::Forbidden("its path has a `..` in it")),
            name if name.len() > NAME_BYTES_MAX => {
                return Err(Bad::Long("name_bytes", NAME_BYTES_MAX));
            }
            name => {
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(name);
            }
        }
    }
    Ok(plain)
}

/// The directory and the name in it, of a path that is not empty.
pub(crate) fn split(plain: &[u8]) -> (&[u8], &[u8]) {
    match plain.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&plain[..at], &plain[at + 1..]),
        None => (b"", plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_path_is_relative_and_has_no_way_up(path in "[a./\u{0}é-]{0,16}") {
            if let Ok(plain) = plain(path.as_bytes()) {
                prop_assert!(!plain.starts_with(b"/") && !plain.ends_with(b"/"));
                for name in plain.split(|byte| *byte == b'/') {
                    prop_assert!(name != b".." && name != b"." && !name.contains(&0));
                }
                if !plain.is_empty() {
                    prop_assert_eq!(super::plain(&plain).unwrap(), plain.clone());
                }
            }
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_or_are_too_long_are_refused() {
        for bad in ["", "/a", "..", "a/../b", "a/..", "./../a", "a\0b"] {
            assert!(matches!(plain(bad.as_bytes()), Err(Bad::Forbidden(_))), "{bad:?}");
        }
        for (good, expected) in [("./a//b/", "a/b"), ("./", ""), (".", ""), ("...", "...")] {
            assert_eq!(plain(good.as_bytes()).unwrap(), expected.as_bytes());
        }
        assert!(matches!(plain(&[b'a'; 256]), Err(Bad::Long("name_bytes", 255))));
        assert!(matches!(plain("a/".repeat(2048).as_bytes()), Err(Bad::Long("path_bytes", 4095))));
    }
}
