//! `cp`: files into a sandbox or out of it, streamed. A single file arrives whole or not at all, a
//! directory file by file.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::ArchiveFormat;
use api::client::Client;
use futures::StreamExt as _;
use serde_json::json;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use crate::args::{Cp, Global};
use crate::failed::Failed;
use crate::place::Place;
use crate::progress::Progress;
use crate::{output, plane, tree};

/// What is read from a file at a time: large enough that calls cost little.
const CHUNK_BYTES: usize = 64 * 1024;

/// Permission bits that travel with a file.
const MODE_BITS: u32 = 0o777;

/// How a copy is made.
struct Copy {
    client: Client,
    recursive: bool,
    json: bool,
}

/// Copies a file or a directory.
pub async fn cp(global: &Global, args: Cp) -> Result<ExitCode, Failed> {
    let client = plane::client(global)?;
    let copy = Copy { client, recursive: args.recursive, json: global.json };
    let target = match (args.source, args.target) {
        (Place::Sandbox { .. }, Place::Sandbox { .. }) => {
            return Err(Failed::new("both sides are in sandboxes")
                .hint("copy the file here first, then from here"));
        }
        (Place::Sandbox { id, path }, to) => copy.download((&id, &path), to).await?,
        (from, Place::Sandbox { id, path }) => copy.upload(from, (&id, &path)).await?,
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

impl Copy {
    async fn upload(&self, from: Place, to: (&str, &str)) -> Result<String, Failed> {
        let (id, path) = to;
        let client = &self.client;
        let (reader, name, meta): (Box<dyn AsyncRead + Send + Unpin>, _, _) = match from {
            Place::Stream | Place::Sandbox { .. } => (Box::new(tokio::io::stdin()), None, None),
            Place::Here(local) => {
                let failed = |error: io::Error| Failed::with_path("read", &local, &error);
                let file = File::open(&local).await.map_err(failed)?;
                let meta = file.metadata().await.map_err(failed)?;
                if meta.is_dir() {
                    return self.upload_tree(&local, to).await;
                }
                let name = local.file_name().map(|name| name.to_string_lossy().into_owned());
                (Box::new(file), name, Some(meta))
            }
        };
        let path = target_inside(client, (id, path), name.as_deref()).await?;
        let mode = meta.as_ref().map(|meta| meta.permissions().mode() & MODE_BITS);
        let mode = mode.map(|mode| format!("{mode:04o}"));
        let body = ReaderStream::with_capacity(reader, CHUNK_BYTES);
        let body = Progress::new(self.json, meta.map(|meta| meta.len())).count(body);
        client.write_file(id, (&path, mode.as_deref()), body).await?;
        Ok(format!("{id}:{path}"))
    }

    async fn upload_tree(&self, local: &Path, (id, path): (&str, &str)) -> Result<String, Failed> {
        if !self.recursive {
            return Err(directory(&local.display().to_string()));
        }
        // Also of `.` and `..`, which are no names in a sandbox.
        let whole = local.canonicalize();
        let whole = whole.map_err(|error| Failed::with_path("read", local, &error))?;
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
        let path = target_inside(&self.client, (id, path), name.as_deref().or(Some(""))).await?;
        let (archive, packing) = tree::pack(local)?;
        let body = Progress::new(self.json, None).count(archive);
        let target = (path.as_str(), ArchiveFormat::Tar);
        let sent = self.client.write_archive(id, target, body).await;
        if let Ok(Err(error)) = packing.await {
            // Where the server has given up, that is the reason, and not the cut that it made.
            if sent.is_ok() || !matches!(error, archive::Error::Stream(_)) {
                return Err(tree::said("read", local, &error));
            }
        }
        sent?;
        Ok(format!("{id}:{path}"))
    }

    async fn download(&self, from: (&str, &str), to: Place) -> Result<String, Failed> {
        let (id, path) = from;
        let client = &self.client;
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
            return self.download_tree(from, target).await;
        }
        let is_dir = fs::metadata(&target).await.is_ok_and(|meta| meta.is_dir());
        let target = if is_dir { target.join(file_name(path)?) } else { target };
        let bytes = client.read_file(id, path).await?;
        let bytes = Box::pin(Progress::new(self.json, Some(info.size)).count(bytes));
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

    async fn download_tree(
        &self,
        (id, path): (&str, &str),
        target: PathBuf,
    ) -> Result<String, Failed> {
        if !self.recursive {
            return Err(directory(&format!("{id}:{path}")));
        }
        let is_dir = fs::metadata(&target).await.is_ok_and(|meta| meta.is_dir());
        let name = file_name(path.trim_end_matches('/')).ok();
        let target = match name {
            Some(name) if is_dir => target.join(name),
            Some(_) | None => target,
        };
        let archive = self.client.read_archive(id, path, ArchiveFormat::Tar).await?;
        let failed = |error: io::Error| Failed::with_path("make", &target, &error);
        match fs::create_dir(&target).await {
            Ok(()) => {}
            // A link of that name would lead elsewhere.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let meta = fs::symlink_metadata(&target).await.map_err(failed)?;
                if !meta.is_dir() {
                    return Err(failed(error));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let archive = Box::pin(Progress::new(self.json, None).count(archive));
        tree::unpack(&target, archive).await?;
        Ok(target.display().to_string())
    }
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
        Some("") if is_dir => Ok(path.to_owned()),
        Some(name) if is_dir => Ok(format!("{}/{name}", path.trim_end_matches('/'))),
        None if is_dir => Err(Failed::new(format!("{path} is a directory"))
            .hint("standard input has no name; give one behind the directory")),
        Some(_) | None => Ok(path.to_owned()),
    }
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
        .hint("copy it with all that is in it: stacyvm cp -r")
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
