//! `GET /sandboxes/{id}/files`: a file's bytes, or a range of them.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::{ByteRange, ByteStream, Caller};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{Failure, FileInfo, Reason, SandboxId, SandboxPath};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::error::ApiError;
use crate::etag;
use crate::extract::{By, Id, Params};
use crate::range::Part;
use crate::state::Plane;

/// Which file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Source {
    /// The absolute path in the sandbox.
    #[param(required)]
    pub(super) path: Option<String>,
}

/// Read a file.
///
/// Its bytes as they are, of any length; `Range` reads a part. A file that shrinks meanwhile ends
/// the answer before its announced length.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files", operation_id = "files_read", tag = "files",
    params(
        ("id" = String, Path, description = "The sandbox."), Source,
        ("Range" = Option<String>, Header, description = "One range of bytes: `bytes=0-99`."),
        ("If-None-Match" = Option<String>, Header,
            description = "Validators of files that the client has."),
        ("If-Range" = Option<String>, Header,
            description = "Reads the part only if the file still has this validator."),
    ),
    responses(
        (status = 200, description = "The file.", content_type = "application/octet-stream",
            body = Vec<u8>),
        (status = 206, description = "A part of it.", content_type = "application/octet-stream",
            body = Vec<u8>),
        (status = 304, description = "The client has it."),
    ),
)]
pub(crate) async fn read(
    State(plane): State<Plane>,
    (By(caller), Id(id)): (By, Id),
    Params(source): Params<Source>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = convert::path("path", source.path)?;
    let mut part = Part::of(&headers);
    let range = byte_range(&plane, (&caller, &id), &path, part).await?;
    let (mut info, mut body) = plane.engine.read_file(&caller, &id, &path, range).await?;
    if etag::has_it(&headers, info.etag.as_ref())? {
        return Ok(with_etag(StatusCode::NOT_MODIFIED.into_response(), &info));
    }
    if part != Part::Whole && !etag::part_fits(&headers, info.etag.as_ref()) {
        part = Part::Whole;
        let whole = ByteRange::default();
        (info, body) = plane.engine.read_file(&caller, &id, &path, whole).await?;
    }
    let response = if part == Part::Whole {
        answer(StatusCode::OK, info.size, None, Body::from_stream(body))
    } else {
        partial(&info, range, body).ok_or_else(|| out_of_range(info.size))?
    };
    Ok(with_etag(response, &info))
}

/// A part of a file, unless it begins past the end.
fn partial(info: &FileInfo, range: ByteRange, body: ByteStream) -> Option<Response> {
    let left = info.size.checked_sub(range.offset).filter(|left| *left > 0)?;
    let length = range.length.map_or(left, |length| length.min(left));
    let last = range.offset + length - 1;
    let content = content_range(format!("bytes {}-{last}/{}", range.offset, info.size));
    let body = Body::from_stream(body);
    Some(answer(StatusCode::PARTIAL_CONTENT, length, Some(content), body))
}

/// What to read for a part. Where the last bytes of a file begin is known only from its size.
async fn byte_range(
    plane: &Plane,
    (caller, id): (&Caller, &SandboxId),
    path: &SandboxPath,
    part: Part,
) -> Result<ByteRange, ApiError> {
    match part {
        Part::Whole => Ok(ByteRange::default()),
        Part::From(offset, last) => {
            // No file is longer than the kernel can say.
            let offset = offset.min(i64::MAX as u64);
            let length = last.map(|last| (last - offset).saturating_add(1));
            Ok(ByteRange { offset, length })
        }
        Part::Last(count) => {
            // Of the file that is read, also when the path is that of a link to it.
            let nothing = ByteRange { offset: 0, length: Some(0) };
            let (info, _) = plane.engine.read_file(caller, id, path, nothing).await?;
            let size = info.size;
            let length = count.min(size);
            Ok(ByteRange { offset: size - length, length: Some(length) })
        }
    }
}

fn with_etag(mut response: Response, info: &FileInfo) -> Response {
    if let Some(etag) = &info.etag {
        response.headers_mut().insert(ETAG, etag::header(etag));
    }
    response
}

fn answer(status: StatusCode, length: u64, range: Option<HeaderValue>, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(range) = range {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

fn out_of_range(size: u64) -> ApiError {
    let message = format!("invalid input: Range: the file has {size} bytes");
    let failure = Failure::new(Reason::InvalidField, message).detail("field", "Range");
    ApiError::from(failure)
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .with_header(CONTENT_RANGE, content_range(format!("bytes */{size}")))
}

fn content_range(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and punctuation are a header value")
}
