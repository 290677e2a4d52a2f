//! `cp`: one file into a sandbox or out of it, streamed, whole or not at all.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::client::Client;
use futures::StreamExt as _;
use serde_json::json;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use crate::args::{Cp, Global};
use crate::failed::Failed;
use crate::place::Place;
use crate::{output, plane};

/// What is read from a file at a time: large enough that calls cost little.
const CHUNK_BYTES: usize = 64 * 1024;

/// Permission bits that travel with a file.
const MODE_BITS: u32 = 0o777;

/// Copies a file.
pub async fn cp(global: &Global, args: Cp) -> Result<ExitCode, Failed> {
    let client = plane::client(global)?;
    let target = match (args.source, args.target) {
        (Place::Sandbox { .. }, Place::Sandbox { .. }) => {
            return Err(Failed::new("both sides are in sandboxes")
                .hint("copy the file here first, then from here"));
        }
        (Place::Sandbox { id, path }, to) => download(&client, (&id, &path), to).await?,
        (from, Place::Sandbox { id, path }) => upload(&client, from, (&id, &path)).await?,
        (Place::Here(_) | Place::Stream, Place::Here(_) | Place::Stream) => {
            return Err(Failed::new("neither side is in a sandbox")
                .hint("name one as ID:/path, with the id that `stacyvm ls` shows"));
        }
    };
    // The bytes themselves may be on standard output.
    if global.json && target != "-" {
        output::print_json(&json!({ "path": target }))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn upload(client: &Client, from: Place, to: (&str, &str)) -> Result<String, Failed> {
    let (id, path) = to;
    let (reader, name, mode): (Box<dyn AsyncRead + Send + Unpin>, _, _) = match from {
        Place::Stream | Place::Sandbox { .. } => (Box::new(tokio::io::stdin()), None, None),
        Place::Here(local) => {
            let failed = |error: io::Error| Failed::with_path("read", &local, &error);
            let file = File::open(&local).await.map_err(failed)?;
            let meta = file.metadata().await.map_err(failed)?;
            if meta.is_dir() {
                return Err(directory(&local.display().to_string()));
            }
            let mode = format!("{:04o}", meta.permissions().mode() & MODE_BITS);
            let name = local.file_name().map(|name| name.to_string_lossy().into_owned());
            (Box::new(file), name, Some(mode))
        }
    };
    let path = target_inside(client, (id, path), name.as_deref()).await?;
    let body = ReaderStream::with_capacity(reader, CHUNK_BYTES);
    client.write_file(id, (&path, mode.as_deref()), body).await?;
    Ok(format!("{id}:{path}"))
}

/// A directory takes the file under its own name.
async fn target_inside(
    client: &Client,
    (id, path): (&str, &str),
    name: Option<&str>,
) -> Result<String, Failed> {
    let is_dir =
        path.ends_with('/') || client.stat_file(id, path).await.is_ok_and(|target| target.is_dir);
    match name {
        Some(name) if is_dir => Ok(format!("{}/{name}", path.trim_end_matches('/'))),
        None if is_dir => Err(Failed::new(format!("{path} is a directory"))
            .hint("standard input has no name; give one behind the directory")),
        Some(_) | None => Ok(path.to_owned()),
    }
}

async fn download(client: &Client, from: (&str, &str), to: Place) -> Result<String, Failed> {
    let (id, path) = from;
    let target = match to {
        Place::Here(local) => local,
        Place::Stream | Place::Sandbox { .. } => {
            let bytes = client.read_file(id, path).await?;
            pour(bytes, &mut tokio::io::stdout(), Path::new("standard output")).await?;
            return Ok("-".to_owned());
        }
    };
    let info = client.stat_file(id, path).await?;
    if info.is_dir {
        return Err(directory(&format!("{id}:{path}")));
    }
    let is_dir = fs::metadata(&target).await.is_ok_and(|meta| meta.is_dir());
    let target = if is_dir { target.join(file_name(path)?) } else { target };
    let bytes = client.read_file(id, path).await?;
    // What a symlink's own bits say is nothing about the file that was read through it.
    let mode = u32::from_str_radix(&info.mode, 8).ok().filter(|_| info.kind != "symlink");
    let unfinished = Unfinished::beside(&target);
    let failed = |error: io::Error| Failed::with_path("write", &target, &error);
    let mut file = File::create_new(&unfinished.0).await.map_err(failed)?;
    pour(bytes, &mut file, &target).await?;
    if let Some(mode) = mode {
        let permissions = std::fs::Permissions::from_mode(mode & MODE_BITS);
        file.set_permissions(permissions).await.map_err(failed)?;
    }
    drop(file);
    fs::rename(&unfinished.0, &target).await.map_err(failed)?;
    Ok(target.display().to_string())
}

async fn pour<S, W>(mut bytes: S, out: &mut W, target: &Path) -> Result<(), Failed>
where
    S: futures::Stream<Item = Result<bytes::Bytes, api::client::ClientError>> + Unpin,
    W: AsyncWrite + Unpin,
{
    let failed = |error: io::Error| Failed::with_path("write", target, &error);
    while let Some(part) = bytes.next().await {
        out.write_all(&part?).await.map_err(failed)?;
    }
    out.flush().await.map_err(failed)
}

/// The last part of a path in a sandbox, which may hold nothing that leads elsewhere here.
fn file_name(path: &str) -> Result<&str, Failed> {
    match path.rsplit('/').next() {
        Some(name) if !matches!(name, "" | "." | "..") => Ok(name),
        Some(_) | None => Err(Failed::new(format!("{} names no file", output::printable(path)))),
    }
}

fn directory(name: &str) -> Failed {
    Failed::new(format!("{} is a directory", output::printable(name)))
        .hint("copy a single file: pack the directory with tar, and unpack it on the other side")
}

/// A file that is not complete yet; removed unless it was renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self(target.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename it is not there any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        assert_eq!(file_name("/a/b.txt").unwrap(), "b.txt");
        for path in ["/", "/a/", "/a/..", "/."] {
            assert!(file_name(path).is_err(), "{path}");
        }
    }
}
