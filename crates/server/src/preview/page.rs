//! What the gateway answers itself: a page for people, the error shape for programs.

use axum::response::{Html, IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{Failure, Reason};

use crate::error::{ApiError, set_retry_after};

/// Whether the client is a browser that shows what it gets.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

/// The answer to a request that could not be forwarded.
pub(super) fn answer(failure: &Failure, wants_page: bool) -> Response {
    let error = ApiError::from(failure.clone());
    if !wants_page {
        return error.into_response();
    }
    let status = error.status();
    let mut response = (status, Html(page(failure, status))).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    set_retry_after(headers, status);
    response
}

fn page(failure: &Failure, title: StatusCode) -> String {
    // A page about a port that nothing listens on yet comes back by itself, and so turns into the
    // application as soon as that is there.
    let refresh = if failure.reason == Reason::PortClosed {
        r#"<meta http-equiv="refresh" content="2">"#
    } else {
        ""
    };
    let message = escape(&failure.message);
    let hint = escape(failure.way_out());
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{refresh}\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:20vh auto;\
         padding:0 1rem}}h1{{font-size:1.25rem}}</style></head>\
         <body><h1>{title}</h1><p>{message}</p><p>{hint}</p></body></html>\n",
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_cannot_be_markup() {
        let failure = Failure::new(Reason::PortClosed, "<script>alert(\"1\")</script>");
        let page = page(&failure, StatusCode::BAD_GATEWAY);
        assert!(!page.contains("<script>"));
        assert!(page.contains("http-equiv=\"refresh\""));
    }
}
