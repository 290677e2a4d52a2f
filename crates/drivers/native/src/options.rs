//! What the operator decides about the native driver.

use std::path::PathBuf;

/// The native driver's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeOptions {
    /// A directory of root's on a file system that can hold writable layers (ext4, xfs, btrfs,
    /// tmpfs; not overlayfs). Made when it is missing. One driver at a time may hold it.
    pub state_dir: PathBuf,
    /// Whether every sandbox ends with the driver, also when the process is killed. Otherwise
    /// sandboxes outlive it and are found again.
    pub ephemeral: bool,
}
