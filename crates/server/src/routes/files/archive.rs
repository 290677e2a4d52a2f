//! `…/files/archive`: a tree of files as one stream, out of a sandbox and into one.

use api::{ArchiveFormat, Unpacked};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use http::header::CONTENT_TYPE;
use model::{Failure, Reason};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::compression::{compressed, plain, sniffed};
use crate::convert;
use crate::error::{ApiError, echo};
use crate::extract::{By, Id, Params, Reply, ok};
use crate::state::Plane;

/// Which files, and in which form.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The absolute path in the sandbox.
    #[param(required)]
    path: Option<String>,
    /// `tar`, `tar.gz` or `tar.zst`. Default: `tar` out of a sandbox, and into one what its first
    /// bytes say.
    format: Option<String>,
}

fn format(text: Option<String>) -> Result<Option<ArchiveFormat>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let found = ArchiveFormat::ALL.into_iter().find(|format| format.word() == text);
    found.map(Some).ok_or_else(|| {
        let problem = format!("{} is none of tar, tar.gz, tar.zst", echo(&text));
        Failure::invalid_field("format", problem)
    })
}

/// Read files as an archive.
///
/// All that is beneath a directory, with paths relative to it, or a single file under its name:
/// with modes, times, symlinks and hard links, and names byte for byte. Sockets, pipes and devices
/// are left out. A file that cannot be read is an error with its path; one that fails behind the
/// first quarter of a MiB, or shrinks while it is read, cuts the answer off.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/archive", operation_id = "files_archive_read",
    tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Which),
    responses((
        status = 200, description = "The archive.", content_type = "application/x-tar",
        body = Vec<u8>,
    )),
)]
pub(crate) async fn read(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(which): Params<Which>,
) -> Result<Response, ApiError> {
    let path = convert::path("path", which.path)?;
    let format = format(which.format)?.unwrap_or_default();
    let mut archive = plane.engine.pack(&caller, &id, &path).await?;
    // What fails before there is anything to send is an answer, and not a cut one.
    let first = archive.next().await.transpose()?;
    let archive = stream::iter(first.map(Ok)).chain(archive).boxed();
    let body = Body::from_stream(compressed(archive, format)?);
    Ok(([(CONTENT_TYPE, format.media_type())], body).into_response())
}

/// Write files from an archive.
///
/// Makes files beneath a directory, which is made when it is missing, and replaces those that are
/// there, each as a whole. No member leads out of the directory: absolute paths, `..`, ways through
/// links, hard links to elsewhere, devices and pipes are refused by name. Symlinks are made as they
/// are and never followed; set-id bits are dropped. The operator limits the members of an archive,
/// their bytes together, and from 64 MiB on how many times its compressed size it comes to: 100000,
/// 16 GiB and 1000 unless configured. What was unpacked before a failure stays.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files/archive", operation_id = "files_archive_write",
    tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Which),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, description = "It is unpacked.", body = Unpacked)),
)]
pub(crate) async fn write(
    State(plane): State<Plane>,
    (By(caller), Id(id)): (By, Id),
    Params(which): Params<Which>,
    body: Body,
) -> Reply<Unpacked> {
    let path = convert::path("path", which.path)?;
    let format = format(which.format)?;
    let cut_off =
        |error| Failure::new(Reason::InvalidBody, "the body was cut off").caused_by(error);
    let (body, found) = sniffed(Box::pin(body.into_data_stream().map_err(cut_off))).await?;
    let ratio = plane.engine.options().max_archive_ratio;
    let archive = plain(body, format.unwrap_or(found), ratio)?;
    let done = plane.engine.unpack(&caller, &id, &path, archive).await?;
    let status = "unpacked".to_owned();
    Ok(ok(Unpacked { status, entries: done.entries, bytes: done.bytes }))
}
