//! Trees of files as tar streams, beneath a directory that nothing leads out of.
//!
//! [`pack`] writes what is beneath a directory, [`unpack`] makes files beneath one. The agent does
//! both in a sandbox, where jobs move files and links under its hands; `stacyvm cp` does both on
//! the user's machine, where the archive may come from a hostile sandbox. So neither follows a
//! link, each works from descriptors and single names, and whatever an archive says is bounded.
//!
//! Pure of policy: which user does this is the caller's, which limits hold is in [`Limits`].
//! Compression is not here.

mod error;
mod format;
mod name;
mod pack;
mod reader;
mod unpack;
pub mod walk;

pub use error::Error;
pub use format::BLOCK_BYTES;
pub use name::{NAME_BYTES_MAX, PATH_BYTES_MAX};
pub use pack::{Top, encode, end, pack};
pub use reader::{Kind, Member, Reader};
pub use unpack::{Limits, Unpacked, unpack};
pub use walk::Walk;
