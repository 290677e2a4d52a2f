//! A door to the parser of preview hosts, for the fuzz targets and for nobody else.

use axum::extract::Request;
use http::header::HOST;

use crate::preview::{Authority, PreviewDomain, Target};

/// The port and the sandbox that a request with this `Host` header is for, if it is for a preview
/// below `domain`.
pub fn preview(domain: &str, host: &str) -> Option<(u16, String)> {
    let request = Request::builder().header(HOST, host).body(axum::body::Body::empty()).ok()?;
    let authority = Authority::of(&request).ok()?;
    match PreviewDomain::new(domain, 80).ok()?.target(&authority) {
        Target::Preview(address) => Some((address.port, address.sandbox.to_string())),
        Target::Api | Target::Refused => None,
    }
}
