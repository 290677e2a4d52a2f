//! From a failure to its answer. The answer's body is written by the envelope, which knows the
//! request's id; nothing of a failure's cause is ever in it.

use std::collections::BTreeMap;

use api::ErrorBody;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::failure::Detail;
use model::{Failure, Reason};
use serde_json::Value;

/// What a handler fails with.
#[derive(Clone)]
pub(crate) struct ApiError {
    pub(crate) failure: Failure,
    /// Facts that a failure cannot carry, such as a result.
    details: BTreeMap<String, Value>,
    /// Another status than the reason's own.
    status: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn with_details(mut self, details: BTreeMap<String, Value>) -> Self {
        self.details = details;
        self
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        let own = StatusCode::from_u16(self.failure.reason.status());
        self.status.or(own.ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer's body.
    pub(crate) fn body(&self, request_id: &str) -> ErrorBody {
        let mut body = body(&self.failure, request_id);
        body.details.extend(self.details.clone());
        body
    }

    /// Writes the body into the answer that this error became.
    pub(crate) fn write(&self, response: &mut Response, request_id: &str) {
        let text = serde_json::to_vec(&self.body(request_id))
            .expect("strings, numbers and flags can always be written as JSON");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The router has set the length of the empty body.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        set_retry_after(headers, self.status());
        *response.body_mut() = text.into();
    }
}

/// Says when to come back. Every answer of these two statuses has it, so that a client which knows
/// nothing but HTTP does not come back at once; whether it is of use to come back at all is `retry`
/// in the body.
pub(crate) fn set_retry_after(headers: &mut HeaderMap, status: StatusCode) {
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

/// A failure in the one error shape.
pub(crate) fn body(failure: &Failure, request_id: &str) -> ErrorBody {
    let reason = failure.reason;
    let details = failure.details.iter().map(|(name, detail)| {
        let value = match detail {
            Detail::Text(text) => Value::from(text.clone()),
            Detail::Number(number) => Value::from(*number),
            Detail::Flag(flag) => Value::from(*flag),
        };
        ((*name).to_owned(), value)
    });
    ErrorBody {
        code: reason.code().word().to_owned(),
        message: failure.message.clone(),
        reason: reason.word().to_owned(),
        retry: reason.retry().word().to_owned(),
        request_id: request_id.to_owned(),
        details: details.collect(),
        hint: Some(failure.way_out().to_owned()),
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self { failure, details: BTreeMap::new(), status: None, header: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some((name, value)) = self.header.clone() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A required field or query parameter that is not there.
pub(crate) fn missing(field: &str) -> Failure {
    Failure::new(Reason::MissingField, format!("invalid input: {field} is required"))
        .detail("field", field)
}

/// A text from outside within a message: bounded, and without control characters.
pub(crate) fn echo(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut shown: String =
        text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failure_is_not_in_the_body() {
        let failure = Failure::internal(std::io::Error::other("/secret/path"));
        let text = serde_json::to_string(&ApiError::from(failure).body("r-1")).unwrap();
        assert_eq!(
            text,
            r#"{"code":"INTERNAL_ERROR","message":"internal error","reason":"internal","#
                .to_owned()
                + r#""retry":"later","request_id":"r-1","hint":"report it with the request id; "#
                + r#"the server's log has the cause"}"#
        );
    }

    #[test]
    fn every_reason_has_a_way_out_in_its_body_and_says_when_to_come_back() {
        for reason in Reason::ALL.iter().copied() {
            let error = ApiError::from(Failure::new(reason, "m"));
            let body = error.body("r-1");
            assert_eq!(body.hint.as_deref(), Some(reason.hint()), "{reason:?}");
            let mut response = error.clone().into_response();
            error.write(&mut response, "r-1");
            let waits = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(waits, matches!(reason.status(), 429 | 503), "{reason:?}");
        }
    }

    #[test]
    fn what_is_echoed_is_bounded_and_printable() {
        assert_eq!(echo("a\nb"), "a\u{fffd}b");
        assert_eq!(echo(&"x".repeat(1000)).chars().count(), 65);
    }
}
