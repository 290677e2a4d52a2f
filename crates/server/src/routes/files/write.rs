//! `POST /sandboxes/{id}/files`: writes a file, from JSON or from raw bytes.

use api::{WriteRequest, Written};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{ByteStream, WriteOptions};
use futures::TryStreamExt;
use futures::stream;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, ETAG};
use model::{ETag, Failure, Reason, SandboxPath};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::error::ApiError;
use crate::etag;
use crate::extract::{By, Id, Json, Params, ok};
use crate::state::Plane;

/// Where a raw body goes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Target {
    /// The absolute path in the sandbox; with a raw body only.
    path: Option<String>,
    /// Permission bits in octal; with a raw body only.
    mode: Option<String>,
}

/// Write a file.
///
/// Either a JSON object, or the bytes themselves as `application/octet-stream` with the path in
/// the query: these may be of any length. Missing parent directories are made. The file is
/// replaced as a whole or not at all; a new one gets mode 0644, an old one keeps its own, unless
/// one is given.
#[utoipa::path(
    post, path = "/api/v1/sandboxes/{id}/files", operation_id = "files_write", tag = "files",
    params(
        ("id" = String, Path, description = "The sandbox."), Target,
        ("If-Match" = Option<String>, Header,
            description = "Writes only if the file has one of these validators; `*`: exists."),
        ("If-None-Match" = Option<String>, Header,
            description = "`*`: writes only if there is no file."),
    ),
    request_body(
        content((WriteRequest = "application/json"), (Vec<u8> = "application/octet-stream")),
    ),
    responses((
        status = 200, description = "It is written.", body = Written,
        headers(("ETag" = String, description = "The new validator.")),
    )),
)]
pub(crate) async fn write(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    request: Request,
) -> Result<Response, ApiError> {
    let only = etag::precondition(request.headers())?;
    let mut write = if is_raw(request.headers()) {
        raw(request, &plane).await?
    } else {
        json(request, &plane).await?
    };
    write.options.only = only;
    let target = (&write.path, write.options);
    let stored = plane.engine.write_file(&caller, &id, target, write.body).await?;
    let mut response = ok(Written {
        status: "written".to_owned(),
        size: stored.bytes,
        etag: stored.etag.as_ref().map(ETag::quoted),
    })
    .into_response();
    if let Some(etag) = &stored.etag {
        response.headers_mut().insert(ETAG, etag::header(etag));
    }
    Ok(response)
}

struct Write {
    path: SandboxPath,
    options: WriteOptions,
    body: ByteStream,
}

fn is_raw(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/octet-stream")
}

async fn raw(request: Request, plane: &Plane) -> Result<Write, ApiError> {
    let (mut parts, body) = request.into_parts();
    let Params(target) = Params::<Target>::from_request_parts(&mut parts, plane).await?;
    let cut_off =
        |error| Failure::new(Reason::InvalidBody, "the body was cut off").caused_by(error);
    Ok(Write {
        path: convert::path("path", target.path)?,
        options: WriteOptions {
            mode: convert::mode("mode", target.mode)?,
            parents: true,
            only: None,
        },
        body: Box::pin(body.into_data_stream().map_err(cut_off)),
    })
}

async fn json(request: Request, plane: &Plane) -> Result<Write, ApiError> {
    let Json(request) = Json::<WriteRequest>::from_request(request, plane).await?;
    let path = convert::path("path", request.path)?;
    let mode = convert::mode("mode", request.mode)?;
    let content = convert::content(request.content, request.encoding.unwrap_or_default())?;
    Ok(Write {
        path,
        options: WriteOptions { mode, parents: true, only: None },
        body: Box::pin(stream::iter([Ok(Bytes::from(content))])),
    })
}
