//! The handlers, one verb a file. Each extracts, converts, calls the engine and converts back; its
//! doc comment is the API's reference.

pub(crate) mod exec;
pub(crate) mod execs;
pub(crate) mod files;
pub(crate) mod providers;
pub(crate) mod sandboxes;
pub(crate) mod system;
