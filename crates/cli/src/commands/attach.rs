//! `attach`: the output of a command that runs, or ran, by itself.

use std::process::ExitCode;

use futures::StreamExt as _;

use crate::args::{Attach, Global};
use crate::failed::Failed;
use crate::signals::Interrupts;
use crate::{follow, plane};

/// Prints what is kept of a command's output, follows it to its end and gives its exit code.
/// Ctrl-C ends the following and not the command.
pub async fn attach(global: &Global, args: &Attach) -> Result<ExitCode, Failed> {
    let mut interrupts =
        Interrupts::catch().map_err(|error| Failed::to("catch signals", &error))?;
    let client = plane::client(global)?;
    let followed = async {
        let chunks = client.exec_output((&args.id, &args.exec), (0, 0)).await?;
        let chunks = chunks.map(|chunk| chunk.map_err(Failed::from)).boxed();
        if global.json { follow::collected(chunks).await } else { follow::live(chunks).await }
    };
    let code = tokio::select! {
        code = followed => code?,
        code = interrupts.next() => code,
    };
    Ok(ExitCode::from(code))
}
