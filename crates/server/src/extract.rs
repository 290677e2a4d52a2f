//! From a request to typed values. Everything that is wrong with a request is said with the name
//! of the field.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Caller, IdempotencyKey};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::failure::Detail;
use model::{ExecId, Failure, Limit, Reason, SandboxId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use sha2::{Digest, Sha256};

use crate::envelope::RequestId;
use crate::error::{ApiError, echo};
use crate::state::Plane;

/// For the whole of a JSON body to arrive. Streams have no such limit.
const JSON_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest idempotency key: room for several UUIDs.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The longest owner, as published.
const OWNER_BYTES_MAX: usize = 128;

/// How alike a field must be to one that exists to be taken for a slip, from 0 to 1.
const LIKENESS_MIN: f64 = 0.6;

/// A JSON object in the body, whatever the content type says.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Plane> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, plane: &Plane) -> Result<Self, ApiError> {
        let body = read_body(request, plane.settings.max_body_bytes).await?;
        Ok(Self(parse_object(&body)?))
    }
}

/// The query parameters, each at most once.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Plane> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Plane) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Failure::new(Reason::InvalidField, "invalid input: unreadable query"))?;
        let mut object = serde_json::Map::new();
        for (name, value) in pairs {
            if object.insert(name.clone(), Value::String(value)).is_some() {
                return Err(Failure::invalid_field(&echo(&name), "it was sent twice").into());
            }
        }
        let params = serde_path_to_error::deserialize(Value::Object(object));
        params.map(Self).map_err(|error| data_failure(&error).into())
    }
}

/// The sandbox that the path names. What cannot be an id is not found, like an id of nothing.
pub(crate) struct Id(pub(crate) SandboxId);

impl FromRequestParts<Plane> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &Plane) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, plane).await;
        let text = text.map_or_else(|_| "?".to_owned(), |Path(text)| text);
        text.parse().map(Self).map_err(|_| {
            let message = format!("sandbox not found: {}", echo(&text));
            Failure::new(Reason::SandboxNotFound, message).into()
        })
    }
}

/// The sandbox and the exec that the path names.
pub(crate) struct Which(pub(crate) SandboxId, pub(crate) ExecId);

impl FromRequestParts<Plane> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, plane: &Plane) -> Result<Self, ApiError> {
        let texts = Path::<(String, String)>::from_request_parts(parts, plane).await;
        let (id, exec) = texts.map_or_else(|_| ("?".into(), "?".into()), |Path(texts)| texts);
        let no_sandbox = |_| {
            let message = format!("sandbox not found: {}", echo(&id));
            Failure::new(Reason::SandboxNotFound, message)
        };
        let no_exec =
            |_| Failure::new(Reason::ExecNotFound, format!("exec not found: {}", echo(&exec)));
        Ok(Self(id.parse().map_err(no_sandbox)?, exec.parse().map_err(no_exec)?))
    }
}

/// The caller's word for this request, if there is one. With it goes a digest of the request, so
/// that another request under the same word is noticed.
pub(crate) fn idempotency_key(
    headers: &HeaderMap,
    request: &impl Serialize,
) -> Result<Option<IdempotencyKey>, Failure> {
    let name = api::paths::IDEMPOTENCY_KEY;
    let Some(value) = headers.get(name) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let problem = format_args!("expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters");
        return Err(Failure::invalid_field(name, problem));
    }
    let text = serde_json::to_vec(request).map_err(Failure::internal)?;
    let fingerprint = STANDARD.encode(Sha256::digest(text));
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint }))
}

/// Who calls: the attribution in `X-User-ID` and the request's id.
pub(crate) struct By(pub(crate) Caller);

impl FromRequestParts<Plane> for By {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Plane) -> Result<Self, ApiError> {
        let name = api::paths::USER_ID;
        let owner = parts.headers.get(name).map(|value| {
            let text = value.to_str().map_err(|_| Failure::invalid_field(name, "not ASCII"))?;
            owner(name, text)
        });
        let owner = owner.transpose()?.flatten();
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned());
        Ok(Self(Caller { owner, request_id }))
    }
}

/// An owner, trimmed; nothing if there is nothing in it.
pub(crate) fn owner(field: &str, text: &str) -> Result<Option<String>, Failure> {
    let text = text.trim();
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\');
    if text.len() > OWNER_BYTES_MAX || text.contains(bad) {
        let problem = "expected at most 128 bytes without spaces, control characters and slashes";
        return Err(Failure::invalid_field(field, problem));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

async fn read_body(request: Request<Body>, limit: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || {
        let message = format!("the body is over its limit of {limit} bytes");
        Failure::over_limit(Limit::JsonBodyBytes, Detail::count(limit), message)
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(JSON_BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(Failure::new(Reason::InvalidBody, "invalid request body: cut off").caused_by(error))
        }
        Err(_) => Err(Failure::new(Reason::InvalidBody, "invalid request body: it is too slow")),
    }
}

/// The JSON object that a text is.
pub(crate) fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let text = body.trim_ascii_start();
    let expected = |found| {
        let message = format!("invalid request body: expected a JSON object, found {found}");
        Failure::new(Reason::InvalidBody, message)
    };
    match text.first() {
        Some(b'{') => {}
        None => return Err(expected("nothing")),
        Some(b'[') => return Err(expected("an array")),
        Some(b'n') => return Err(expected("null")),
        Some(_) => return Err(expected("something else")),
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| data_failure(&error))?;
    reader.end().map_err(|error| syntax_failure(&error))?;
    Ok(parsed)
}

fn data_failure(error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let inner = error.inner();
    if inner.classify() != Category::Data {
        return syntax_failure(inner);
    }
    let text = inner.to_string();
    // Serde tells of an unknown field only in its text, each name in backquotes, the unknown one
    // first.
    let mut names = text.split('`').skip(1).step_by(2);
    if text.starts_with("unknown field `") {
        let unknown = names.next().unwrap_or_default();
        return unknown_field(unknown, names);
    }
    let field = echo(&error.path().to_string());
    let line = i64::try_from(inner.line()).unwrap_or(0);
    let problem: String = text.chars().take(200).collect();
    let failure = Failure::new(Reason::InvalidField, format!("invalid input: {field}: {problem}"))
        .detail("field", field);
    if line > 0 { failure.detail("line", line) } else { failure }
}

fn unknown_field<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let likeness =
        |name: &str| strsim::normalized_damerau_levenshtein(&unknown.to_lowercase(), name);
    let nearest = known
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let unknown = echo(unknown);
    let failure =
        Failure::new(Reason::UnknownField, format!("invalid input: unknown field `{unknown}`"))
            .detail("field", unknown);
    match nearest {
        Some((_, name)) => failure.hint(format!("did you mean `{name}`?")),
        None => failure,
    }
}

fn syntax_failure(error: &serde_json::Error) -> Failure {
    let (line, column) = (error.line(), error.column());
    Failure::new(Reason::InvalidBody, format!("invalid request body: {error}"))
        .detail("line", i64::try_from(line).unwrap_or(0))
        .detail("column", i64::try_from(column).unwrap_or(0))
}

/// An answer with a status and a JSON body.
pub(crate) type Answer<T> = (StatusCode, axum::Json<T>);

/// What most handlers return.
pub(crate) type Reply<T> = Result<Answer<T>, ApiError>;

/// A JSON answer with status 200.
pub(crate) fn ok<T>(body: T) -> Answer<T> {
    (StatusCode::OK, axum::Json(body))
}

/// An answer that a change was made.
pub(crate) fn status(word: &str) -> Answer<api::Status> {
    ok(api::Status { status: word.to_owned() })
}

/// A query parameter that is a number within a range.
pub(crate) fn number(
    field: &str,
    text: Option<&str>,
    range: RangeInclusive<u32>,
) -> Result<Option<u32>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let problem = format!("expected a number from {} to {}", range.start(), range.end());
        Failure::invalid_field(field, problem)
    })
}

/// A query parameter that is `true` or `false`.
pub(crate) fn flag(field: &str, text: Option<&str>) -> Result<Option<bool>, Failure> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Failure::invalid_field(field, "expected true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::SpawnRequest;

    fn failure(body: &str) -> Failure {
        parse_object::<SpawnRequest>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known_one() {
        let failure = failure(r#"{"imgae":"host"}"#);
        assert_eq!(failure.reason, Reason::UnknownField);
        assert_eq!(failure.message, "invalid input: unknown field `imgae`");
        assert_eq!(failure.hint.unwrap(), "did you mean `image`?");
    }

    #[test]
    fn a_wrong_type_names_the_field_and_the_line() {
        let failure = failure("{\n\"memory_mb\":\"much\"}");
        assert_eq!(failure.reason, Reason::InvalidField);
        assert_eq!(failure.details["field"], "memory_mb".into());
        assert_eq!(failure.details["line"], 2_i64.into());
    }

    #[test]
    fn only_one_json_object_is_a_body() {
        for body in ["", "[]", "1", "\"x\"", "{", "{}{}", "null", "{\"image\":1}}"] {
            let reason = failure(body).reason;
            assert!(matches!(reason, Reason::InvalidBody | Reason::InvalidField), "{body}");
        }
    }

    #[test]
    fn an_owner_is_trimmed_and_bounded() {
        assert_eq!(owner("o", " a ").unwrap().unwrap(), "a");
        assert_eq!(owner("o", " ").unwrap(), None);
        for bad in ["a b", "a/b", "a\\b", "a\u{7f}b", &"a".repeat(129)] {
            assert!(owner("o", bad).is_err(), "{bad}");
        }
    }
}
