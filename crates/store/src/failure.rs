//! What a database error means to a caller: never more than that the store does not answer. The
//! error itself is for the log.

use model::{Failure, Reason};

/// The failure of a statement.
pub(crate) fn unavailable(error: rusqlite::Error) -> Failure {
    Failure::new(Reason::StoreUnavailable, "the server's storage does not answer")
        .hint("check that the data directory is writable and that its disk is not full")
        .caused_by(error)
}

/// The failure of a row that does not read as what it should be.
pub(crate) fn damaged(what: &str, value: &str) -> Failure {
    Failure::internal(format!("the store holds a {what} that cannot be read: {value:?}"))
}
