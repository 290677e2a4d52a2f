//! `GET /sandboxes/{id}/files/grep`: finds lines.

use api::GrepLine;
use api::paths::TRUNCATED;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use model::{Failure, FileOp, Grep};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::error::{ApiError, missing};
use crate::extract::{By, Id, Params, flag, number, ok};
use crate::state::Plane;

/// Lines of one answer when no limit is given, unless the operator allows fewer.
const LINES_DEFAULT: u32 = 1000;

/// The longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// What to look for, and where.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The absolute path of a file or directory in the sandbox.
    #[param(required)]
    path: Option<String>,
    /// A regular expression, in the syntax of Rust's `regex`, for one line.
    #[param(required)]
    pattern: Option<String>,
    /// Whether directories in the directory are searched too. Default: `true`.
    recursive: Option<String>,
    /// Whether letters match in either case. Default: `false`.
    ignore_case: Option<String>,
    /// At most so many lines, from 1 to 10000 unless the operator allows fewer. Default: 1000.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// A pattern for the names of the files that are searched: `*.py`. Default: all.
    glob: Option<String>,
}

/// Find lines in files.
///
/// In the order of paths and lines. Files with a NUL in their first 8 KiB are left out, as are
/// those that the sandbox's user may not read; links are not followed. `X-Truncated: true` says
/// that there are more lines than the limit.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/files/grep", operation_id = "files_grep", tag = "files",
    params(("id" = String, Path, description = "The sandbox."), Wanted),
    responses((
        status = 200, description = "The lines.", body = Vec<GrepLine>,
        headers(("X-Truncated" = Option<bool>, description = "Whether there are more.")),
    )),
)]
pub(crate) async fn grep(
    State(plane): State<Plane>,
    By(caller): By,
    Id(id): Id,
    Params(wanted): Params<Wanted>,
) -> Result<Response, ApiError> {
    let lines_max = plane.engine.options().max_grep_matches;
    let grep = search(wanted, LINES_DEFAULT.min(lines_max))?;
    let found = plane.engine.fs(&caller, &id, FileOp::Grep(grep)).await?.lines();
    let found = found.map_err(Failure::from)?;
    let lines: Vec<_> = found.lines.into_iter().map(convert::grep_line).collect();
    let mut response = ok(lines).into_response();
    if found.truncated {
        response.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn search(wanted: Wanted, lines: u32) -> Result<Grep, Failure> {
    let pattern = wanted.pattern.filter(|pattern| !pattern.is_empty());
    let pattern = pattern.ok_or_else(|| missing("pattern"))?;
    if pattern.len() > PATTERN_BYTES_MAX {
        let problem = format!("it is over {PATTERN_BYTES_MAX} bytes");
        return Err(Failure::invalid_field("pattern", problem));
    }
    let names = wanted.glob.filter(|glob| !glob.is_empty());
    if names.as_ref().is_some_and(|glob| glob.contains('/') || glob.len() > PATTERN_BYTES_MAX) {
        return Err(Failure::invalid_field(
            "glob",
            "expected a pattern for names, without slashes",
        ));
    }
    Ok(Grep {
        path: convert::path("path", wanted.path)?,
        pattern,
        recursive: flag("recursive", wanted.recursive.as_deref())?.unwrap_or(true),
        ignore_case: flag("ignore_case", wanted.ignore_case.as_deref())?.unwrap_or(false),
        limit: number("limit", wanted.limit.as_deref(), 1..=u32::MAX)?.unwrap_or(lines),
        names,
    })
}
