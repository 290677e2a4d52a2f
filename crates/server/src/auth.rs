//! Who may call: static keys, compared in constant time and never shown.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use model::{Failure, Reason};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::options::BindError;
use crate::state::Plane;

/// Reachable without a credential: probes carry none, and the answers tell no secret.
pub(crate) const PUBLIC: [&str; 3] = ["/api/v1/health", "/api/v1/live", "/api/v1/ready"];

/// More than any key is long; keeps comparisons short.
const KEY_BYTES_MAX: usize = 512;

/// The keys that open the server; with none of them it is open to all who reach it.
pub(crate) struct Keys(Vec<SecretString>);

impl Keys {
    pub(crate) fn new(
        api: Option<SecretString>,
        admin: Option<SecretString>,
    ) -> Result<Self, BindError> {
        let named = [("auth.api_key", api), ("auth.admin_api_key", admin)];
        let mut keys = Vec::new();
        for (name, key) in named.into_iter().filter_map(|(name, key)| Some((name, key?))) {
            let text = key.expose_secret();
            let sane = (1..=KEY_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic());
            if !sane {
                return Err(BindError::Key(name));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Whether a credential is needed.
    pub(crate) fn are_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a request with these headers may pass.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let plain = [api::paths::ADMIN_API_KEY, api::paths::API_KEY];
        let plain =
            plain.iter().filter_map(|name| headers.get(*name)).map(http::HeaderValue::as_bytes);
        !self.are_set() || plain.chain(bearer(headers)).any(|credential| self.has(credential))
    }

    /// Whether the `Authorization` header carries one of our keys, and not an application's own.
    pub(crate) fn own_authorization(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|credential| self.has(credential))
    }

    /// Compares with every key, so that the time does not tell which one was nearly right.
    fn has(&self, credential: &[u8]) -> bool {
        let mut found = subtle::Choice::from(0);
        for key in &self.0 {
            found |= key.expose_secret().as_bytes().ct_eq(credential);
        }
        found.into()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, credential) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(credential)
}

/// The failure of a request without a valid credential.
pub(crate) fn unauthorized() -> Failure {
    Failure::new(Reason::Unauthorized, "unauthorized: no valid API key was sent")
        .hint("send the key in the header X-API-Key")
}

/// Lets requests with a valid credential and those to public routes pass.
pub(crate) async fn require(State(plane): State<Plane>, request: Request, next: Next) -> Response {
    let public = PUBLIC.contains(&request.uri().path());
    if public || plane.settings.keys.admit(request.headers()) {
        next.run(request).await
    } else {
        ApiError::from(unauthorized()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(api: &str) -> Keys {
        Keys::new(Some(api.into()), Some("admin".into())).unwrap()
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn either_key_passes_in_any_of_the_three_headers() {
        let keys = keys("secret");
        for (name, value, expected) in [
            ("x-api-key", "secret", true),
            ("x-api-key", "admin", true),
            ("x-admin-api-key", "secret", true),
            ("authorization", "Bearer secret", true),
            ("authorization", "bearer admin", true),
            ("authorization", "Basic secret", false),
            ("authorization", "secret", false),
            ("x-api-key", "secre", false),
            ("x-api-key", "secrets", false),
            ("x-api-key", "", false),
            ("x-user-id", "secret", false),
        ] {
            assert_eq!(keys.admit(&headers(name, value)), expected, "{name}: {value}");
        }
    }

    #[test]
    fn without_keys_everything_passes() {
        assert!(Keys::new(None, None).unwrap().admit(&HeaderMap::new()));
    }

    #[test]
    fn an_empty_key_or_one_that_no_header_can_carry_is_refused() {
        for key in ["", "a b", "ä", "line\n"] {
            assert!(matches!(Keys::new(Some(key.into()), None), Err(BindError::Key(_))), "{key}");
        }
    }
}
