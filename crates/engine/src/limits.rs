//! Limits that a guest holds or that an answer of a guest can go over: puts their names on what
//! comes back.

use model::failure::Detail;
use model::{ArchiveLimits, Failure, FileOp, FileReply, Limit, Reason, Unpacked};

use crate::options::EngineOptions;

/// What a guest calls its own bounds on a listing and on the matches of a pattern.
const GUEST_LISTING: [&str; 2] = ["entries", "matches"];

/// Names the limit when a sandbox runs as many programs as it may. The number is the configured
/// one; a sandbox from before a restart may still hold an earlier one, which its message has.
pub(crate) fn of_execs(options: &EngineOptions, failure: Failure) -> Failure {
    if failure.reason != Reason::TooManyExecs {
        return failure;
    }
    Failure::over_limit(Limit::Execs, i64::from(options.max_execs), failure.message)
}

/// Holds an answer to the limit of listings.
pub(crate) fn of_listing(
    options: &EngineOptions,
    op: &FileOp,
    answer: Result<FileReply, Failure>,
) -> Result<FileReply, Failure> {
    let max = options.max_listing_entries;
    let over = |message| Failure::over_limit(Limit::ListingEntries, Detail::count(max), message);
    match answer {
        Ok(FileReply::Listing(entries)) if entries.len() > max => {
            Err(over(format!("the directory {} has more than {max} entries", op.path())))
        }
        Ok(FileReply::Paths(paths)) if paths.len() > max => {
            Err(over(format!("more than {max} files match {}", op.path())))
        }
        Err(failure) if is_listing(op) && names_listing(&failure) => Err(over(failure.message)),
        answer => answer,
    }
}

/// What an archive may come to.
pub(crate) fn archive(options: &EngineOptions) -> ArchiveLimits {
    ArchiveLimits { entries: options.max_archive_entries, bytes: options.max_archive_bytes }
}

/// Names the limit that an archive came over.
pub(crate) fn of_archive(
    options: &EngineOptions,
    answer: Result<Unpacked, Failure>,
) -> Result<Unpacked, Failure> {
    let bounds = [
        ("entries", Limit::ArchiveEntries, options.max_archive_entries),
        ("bytes", Limit::ArchiveBytes, options.max_archive_bytes),
    ];
    answer.map_err(|failure| {
        let named = |(name, _, _): &&(&str, Limit, u64)| names(&failure, name);
        match bounds.iter().find(named) {
            Some(&(_, limit, max)) => {
                Failure::over_limit(limit, Detail::amount(max), failure.message)
            }
            None => failure,
        }
    })
}

fn is_listing(op: &FileOp) -> bool {
    matches!(op, FileOp::List(_) | FileOp::Glob { .. })
}

fn names_listing(failure: &Failure) -> bool {
    GUEST_LISTING.iter().any(|name| names(failure, name))
}

/// Whether a guest says that its bound of this name was passed.
fn names(failure: &Failure, bound: &str) -> bool {
    failure.reason == Reason::TooLarge && failure.details.get("limit") == Some(&bound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> EngineOptions {
        EngineOptions { max_listing_entries: 2, max_execs: 7, ..EngineOptions::default() }
    }

    fn listed(answer: Result<FileReply, Failure>) -> Result<FileReply, Failure> {
        of_listing(&options(), &FileOp::List("/a".parse().unwrap()), answer)
    }

    fn paths(count: usize) -> FileReply {
        FileReply::Paths(vec!["/a".to_owned(); count])
    }

    #[test]
    fn a_listing_over_the_limit_names_it() {
        assert_eq!(listed(Ok(paths(2))).unwrap(), paths(2));
        let guests = Failure::new(Reason::TooLarge, "more than 9").detail("limit", "entries");
        for answer in [Ok(paths(3)), Err(guests)] {
            let failure = listed(answer).unwrap_err();
            assert_eq!(failure.reason, Reason::TooLarge);
            assert_eq!(failure.details["limit"], "limits.listing_entries".into());
            assert_eq!(failure.details["max"], Detail::Number(2));
        }
        let other = Failure::new(Reason::TooLarge, "pattern: it takes too long");
        assert!(listed(Err(other)).unwrap_err().details.is_empty());
    }

    #[test]
    fn an_archive_over_a_limit_names_it() {
        let options =
            EngineOptions { max_archive_entries: 3, max_archive_bytes: 1 << 40, ..options() };
        let guests = |bound: &str| {
            let failure = Failure::new(Reason::TooLarge, "a/b: over it");
            of_archive(&options, Err(failure.detail("limit", bound).detail("max", 1))).unwrap_err()
        };
        for (bound, limit, max) in
            [("entries", Limit::ArchiveEntries, 3), ("bytes", Limit::ArchiveBytes, 1 << 40)]
        {
            let failure = guests(bound);
            assert_eq!(
                (failure.reason, failure.message.as_str()),
                (limit.reason(), "a/b: over it")
            );
            assert_eq!(failure.details["limit"], limit.name().into());
            assert_eq!(failure.details["max"], Detail::Number(max));
            assert_eq!(failure.hint, Some(limit.hint()));
        }
        assert_eq!(guests("path_bytes").details["limit"], "path_bytes".into());
        let other = Failure::new(Reason::NoSpace, "full");
        assert!(of_archive(&options, Err(other)).unwrap_err().details.is_empty());
    }

    #[test]
    fn too_many_programs_name_their_limit() {
        let failure = of_execs(&options(), Failure::new(Reason::TooManyExecs, "execs: 7 run"));
        assert_eq!(failure.message, "execs: 7 run");
        assert_eq!(failure.details["limit"], "limits.execs".into());
        assert_eq!(failure.details["max"], Detail::Number(7));
        let other = of_execs(&options(), Failure::new(Reason::NoSpace, "full"));
        assert!(other.details.is_empty());
    }
}
