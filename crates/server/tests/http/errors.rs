//! One error shape, whatever is wrong and wherever.

use reqwest::{Method, StatusCode};
use stacyvm_server::ServerOptions;

use crate::plane::{Plane, assert_error, options};

/// Routes that read a JSON body, below a sandbox.
const BODIES: [&str; 5] = ["extend", "exec", "files", "files/move", "files/chmod"];

#[tokio::test]
async fn unknown_routes_and_methods_answer_in_the_error_shape() {
    let plane = Plane::start().await;
    for path in ["/nonesuch", "/health/", "/sandboxes/a/b/c", "/templates"] {
        let (status, body) = plane.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_error(&body, "route_not_found");
    }
    let response = plane.http.get(format!("http://{}/", plane.address)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let response = plane.http.put(plane.url("/sandboxes")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let allow = response.headers()["allow"].to_str().unwrap().to_owned();
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
    assert_error(&response.json().await.unwrap(), "method_not_allowed");
}

#[tokio::test]
async fn what_cannot_be_an_id_is_not_found() {
    let plane = Plane::start().await;
    let long = "x".repeat(3000);
    for id in ["x", "SB-AAAAAAAAAAAAAAAAAAAA", "sb-short", "..%2F..%2Fetc", "%00", "%ff", &long] {
        for path in ["", "/logs", "/stats", "/files?path=/a", "/files/list"] {
            let (status, body) = plane.get(&format!("/sandboxes/{id}{path}")).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{id}{path}");
            assert_error(&body, "sandbox_not_found");
            let message = body["message"].as_str().unwrap();
            assert!(message.starts_with("sandbox not found: ") && message.len() < 300);
        }
    }
}

#[tokio::test]
async fn a_sandbox_that_never_existed_is_not_found_on_every_route() {
    let plane = Plane::start().await;
    let id = "sb-aaaaaaaaaaaaaaaaaaaa";
    for (method, path, body) in [
        (Method::GET, "", ""),
        (Method::DELETE, "", ""),
        (Method::POST, "/extend", r#"{"ttl":"1m"}"#),
        (Method::POST, "/exec", r#"{"command":"id"}"#),
        (Method::GET, "/logs", ""),
        (Method::GET, "/stats", ""),
        (Method::POST, "/files", r#"{"path":"/a"}"#),
        (Method::GET, "/files?path=/a", ""),
        (Method::DELETE, "/files?path=/a", ""),
        (Method::GET, "/files/list", ""),
        (Method::GET, "/files/stat?path=/a", ""),
        (Method::GET, "/files/glob?pattern=/a", ""),
        (Method::POST, "/files/move", r#"{"old_path":"/a","new_path":"/b"}"#),
        (Method::POST, "/files/chmod", r#"{"path":"/a","mode":"0644"}"#),
    ] {
        let (status, answer) = plane.send(method, &format!("/sandboxes/{id}{path}"), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_error(&answer, "sandbox_not_found");
        assert_eq!(answer["message"], format!("sandbox not found: {id}"));
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_on_every_route_that_reads_one() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let below = BODIES.iter().map(|path| format!("/sandboxes/{id}/{path}"));
    let top = ["/sandboxes".to_owned(), "/sandboxes/admission".to_owned()];
    for path in top.into_iter().chain(below) {
        for (body, reason) in [
            ("", "invalid_body"),
            ("[]", "invalid_body"),
            ("{", "invalid_body"),
            ("{} x", "invalid_body"),
            ("{\"nonesuch\":1}", "unknown_field"),
        ] {
            let (status, answer) = plane.post(&path, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body:?}: {answer}");
            assert_error(&answer, reason);
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let plane = Plane::start_with(ServerOptions { max_body_bytes: 1000, ..options() }).await;
    let body = format!(r#"{{"image":"{}"}}"#, "x".repeat(2000));
    let (status, answer) = plane.post("/sandboxes", &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_error(&answer, "body_too_large");
    assert_eq!(answer["details"]["limit"], "limits.json_body_bytes");
    assert_eq!(answer["details"]["max"], 1000);
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    let request = plane.http.post(plane.url("/sandboxes")).body(reqwest::Body::wrap_stream(chunks));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_error(&response.json().await.unwrap(), "body_too_large");
}

#[tokio::test]
async fn bad_values_of_a_spawn_name_their_field() {
    let plane = Plane::start().await;
    for (body, status, field) in [
        (r#"{"ttl":"soon"}"#, 400, "ttl"),
        (r#"{"ttl":"-5m"}"#, 400, "ttl"),
        (r#"{"ttl":"0s"}"#, 400, "ttl"),
        (r#"{"memory_mb":-1}"#, 400, "memory_mb"),
        (r#"{"memory_mb":1.5}"#, 400, "memory_mb"),
        (r#"{"vcpus":"two"}"#, 400, "vcpus"),
        (r#"{"vcpus":0}"#, 400, "vcpus"),
        (r#"{"memory_mb":0}"#, 400, "memory_mb"),
        (r#"{"owner_id":"a b"}"#, 400, "owner_id"),
        (r#"{"metadata":{"a":1}}"#, 400, "metadata.a"),
        (r#"{"template":"py"}"#, 400, "template"),
    ] {
        let (found, answer) = plane.post("/sandboxes", body).await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert_eq!(answer["details"]["field"], field, "{body}: {answer}");
    }
    let (status, answer) = plane.post("/sandboxes", r#"{"provider":"nonesuch"}"#).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&answer, "provider_not_found");
    assert!(plane.provider.names().is_empty());
}

#[tokio::test]
async fn a_request_is_named_by_its_client_or_by_the_server() {
    let plane = Plane::start().await;
    let get = |id: &'static str| plane.http.get(plane.url("/nonesuch")).header("x-request-id", id);
    let response = get("trace-7").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "trace-7");
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["request_id"], "trace-7");
    for bad in ["has space", ""] {
        let response = get(bad).send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"].len(), 36);
    }
    let response = plane.http.get(plane.url("/sandboxes")).send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 36);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}
