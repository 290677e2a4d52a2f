//! The helper binary. It takes no arguments: see `jail::wire` for how it is started and spoken to.
//! Started by `jail::launch` only.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match jail::helper::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if this cannot be written.
            let _ = writeln!(std::io::stderr(), "stacyvm-jail: failed to {failure}");
            ExitCode::FAILURE
        }
    }
}
