//! Credentials, on every route that the document knows.

use reqwest::{Method, StatusCode};
use stacyvm_server::ServerOptions;

use crate::plane::{Plane, assert_error, options};

/// Open without a credential. This list may only shrink.
const PUBLIC: [&str; 3] = ["/api/v1/health", "/api/v1/live", "/api/v1/ready"];

fn locked() -> ServerOptions {
    ServerOptions {
        api_key: Some("secret-key".into()),
        admin_api_key: Some("admin-key".into()),
        ..options()
    }
}

#[tokio::test]
async fn every_route_but_the_health_checks_needs_a_credential() {
    let plane = Plane::start_with(locked()).await;
    let url = |path: &str| format!("http://{}{path}", plane.address);
    let request = plane.http.get(url("/api/v1/openapi.json")).header("x-api-key", "secret-key");
    let document: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let filled = path.replace("{id}", "sb-aaaaaaaaaaaaaaaaaaaa").replace("{name}", "x");
            let answer = plane.http.request(method, url(&filled)).send().await.unwrap();
            let status = answer.status();
            let public = PUBLIC.contains(&path.as_str());
            assert_eq!(status != StatusCode::UNAUTHORIZED, public, "{path}: {status}");
            if !public {
                assert_error(&answer.json().await.unwrap(), "unauthorized");
            }
            routes += 1;
        }
    }
    assert!(routes >= 26, "{routes}");
}

#[tokio::test]
async fn unknown_routes_tell_nothing_without_a_credential() {
    let plane = Plane::start_with(locked()).await;
    for path in ["/nonesuch", "/sandboxes/", "/sandboxes/x/nonesuch"] {
        let (status, body) = plane.get(path).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_error(&body, "unauthorized");
    }
}

#[tokio::test]
async fn either_key_opens_in_any_of_the_published_headers() {
    let plane = Plane::start_with(locked()).await;
    for (name, value, expected) in [
        ("x-api-key", "secret-key", 200),
        ("x-api-key", "admin-key", 200),
        ("x-admin-api-key", "admin-key", 200),
        ("authorization", "Bearer secret-key", 200),
        ("x-api-key", "secret-kez", 401),
        ("authorization", "Bearer ", 401),
        ("x-user-id", "secret-key", 401),
    ] {
        let request = plane.http.get(plane.url("/sandboxes")).header(name, value);
        let status = request.send().await.unwrap().status().as_u16();
        assert_eq!(status, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_preview_needs_the_key_too_and_the_application_does_not_see_it() {
    let plane = Plane::start_with(locked()).await;
    let client = crate::plane::client(plane.address, Some("secret-key"));
    let id = client.spawn(&api::SpawnRequest::default()).await.unwrap().id;
    let mut connections = plane.provider.listen(3000);
    let host = format!("3000-{id}.localhost");
    let url = format!("http://{}/", plane.address);
    let response = plane.http.get(&url).header("host", &host).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let request = plane.http.get(&url).header("host", &host).header("x-api-key", "secret-key");
    let call = request.header("authorization", "Bearer secret-key").send();
    let (response, head) = tokio::join!(call, async {
        crate::preview::answer(&mut connections, "HTTP/1.1 204 No Content\r\n\r\n").await
    });
    assert_eq!(response.unwrap().status(), StatusCode::NO_CONTENT);
    assert!(!head.contains("secret-key"), "{head}");
}
