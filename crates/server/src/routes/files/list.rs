//! `GET /sandboxes/{id}/files/list`: what is in a directory, whole or part by part.

use api::FileInfo;
use api::paths::NEXT_CURSOR;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode};
use model::file::NAME_BYTES_MAX;
use model::{Failure, FileOp};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::error::ApiError;
use crate::extract::{By, Id, Params, number, ok};
use crate::state::Plane;

/// Entries of one part at most: an answer of some megabytes.
const PAGE_MAX: u32 = 10_000;

/// Entries of a part when only a cursor is given.
const PAGE_DEFAULT: u32 = 1000;

/// Which directory.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Directory {
    /// The absolute path in the sandbox. Default: `/`.
    path: Option<String>,
    /// At most so many entries, from 1 to 10000. Default: all, up to 100000.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// Where to go on: the `X-Next-Cursor` of the part before.
    cursor: Option<String>,
}

/// List a directory.
///
/// Sorted by name, without `.` and `..`. With `limit` a part of it; while there is more, the header
/// `X-Next-Cursor` has the cursor of the next part. A cursor stays good when the directory changes:
/// the next part begins behind the last name of this one.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/list", operation_id = "files_list", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Directory),
    responses((
        status = 200, description = "What is in it.", body = Vec<FileInfo>,
        headers(("X-Next-Cursor" = Option<String>, description = "Where the next part begins.")),
    )),
)]
pub(crate) async fn list(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(directory): Params<Directory>,
) -> Result<Response, ApiError> {
    let path = directory.path.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let path = convert::path("path", Some(path))?;
    let limit = number("limit", directory.limit.as_deref(), 1..=PAGE_MAX)?;
    let after = directory.cursor.as_deref().map(parse_cursor).transpose()?;
    let described =
        |files: Vec<_>| -> Vec<FileInfo> { files.into_iter().map(convert::file_info).collect() };
    if limit.is_none() && after.is_none() {
        let files = plane.engine.fs(&caller, &id, FileOp::List(path)).await?.listing();
        return Ok(ok(described(files.map_err(Failure::from)?)).into_response());
    }
    let op = FileOp::Page { path, limit: limit.unwrap_or(PAGE_DEFAULT), after };
    let page = plane.engine.fs(&caller, &id, op).await?.page().map_err(Failure::from)?;
    let mut response = (StatusCode::OK, axum::Json(described(page.files))).into_response();
    if let Some(next) = page.next {
        let cursor = HeaderValue::try_from(URL_SAFE_NO_PAD.encode(next));
        response.headers_mut().insert(NEXT_CURSOR, cursor.expect("base64 is a header value"));
    }
    Ok(response)
}

fn parse_cursor(text: &str) -> Result<Vec<u8>, Failure> {
    let name = URL_SAFE_NO_PAD.decode(text).ok();
    let name = name.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
    name.ok_or_else(|| Failure::invalid_field("cursor", "it is none of ours"))
}
