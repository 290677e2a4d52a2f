//! The closed list of reasons, as a client meets it: the page of each, and the headers.

use std::fs;
use std::path::Path;

use model::Reason;
use reqwest::{Method, StatusCode};

use crate::plane::{Plane, assert_error};

#[test]
fn the_page_of_every_reason_says_what_the_server_says() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let overview = fs::read_to_string(pages.join("README.md")).unwrap();
    for reason in Reason::ALL {
        let (word, status) = (reason.word(), reason.status());
        let (code, retry) = (reason.code().word(), reason.retry().word());
        let page = fs::read_to_string(pages.join(format!("{word}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {word}\n")), "{word}");
        for line in [
            format!("| code | `{code}` |"),
            format!("| HTTP status | {status} |"),
            format!("| retry | `{retry}` |"),
            "## What it means".to_owned(),
            "## What to do".to_owned(),
        ] {
            assert!(page.lines().any(|found| found == line), "{word}: no line {line}");
        }
        let row = format!("| [{word}]({word}.md) | {status} | `{code}` | `{retry}` |");
        assert!(overview.contains(&row), "{word}: no row in the overview");
    }
}

#[tokio::test]
async fn what_is_over_a_limit_for_now_says_when_to_come_back() {
    let plane = Plane::start().await;
    for (path, body, reason) in [
        ("/sandboxes", r#"{"ttl":"48h"}"#, "ttl_too_long"),
        ("/sandboxes", "{}", "too_many_sandboxes"),
    ] {
        for _ in 0..8 {
            plane.post(path, body).await;
        }
        let response = plane.http.post(plane.url(path)).body(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{reason}");
        assert_eq!(response.headers()["retry-after"], "1", "{reason}");
        let answer: serde_json::Value = response.json().await.unwrap();
        assert_error(&answer, reason);
        assert!(answer["details"]["limit"].as_str().is_some_and(|it| it.starts_with("defaults.")));
    }
}

#[tokio::test]
async fn file_errors_have_their_own_reasons() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let write = format!("/sandboxes/{id}/files");
    let (status, _) = plane.post(&write, r#"{"path":"/workspace/d/f","content":"x"}"#).await;
    assert_eq!(status, StatusCode::OK);
    for (method, path, reason) in [
        (Method::GET, "/files?path=/workspace/none", "file_not_found"),
        (Method::GET, "/files?path=/workspace/d", "is_a_directory"),
        (Method::GET, "/files?path=relative", "path_invalid"),
        (Method::GET, "/files/list?path=/workspace/d/f", "not_a_directory"),
        (Method::DELETE, "/files?path=/workspace/d", "directory_not_empty"),
    ] {
        let (status, answer) = plane.send(method, &format!("/sandboxes/{id}{path}"), "").await;
        assert_error(&answer, reason);
        assert!(status.is_client_error(), "{path}: {status}");
    }
}
