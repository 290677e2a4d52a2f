//! The server itself: health, providers, and the small fixed answers.

use reqwest::StatusCode;
use serde_json::json;

use crate::plane::{Plane, assert_error, keys};

#[tokio::test]
async fn the_health_checks_say_who_they_are() {
    let plane = Plane::start().await;
    for (path, status) in [("/health", "ok"), ("/live", "alive")] {
        let text = plane.http.get(plane.url(path)).send().await.unwrap().text().await.unwrap();
        assert_eq!(keys(&text), ["status", "uptime", "version"]);
        let health: api::Health = serde_json::from_str(&text).unwrap();
        assert_eq!(health.status, status);
        assert!(model::parse_duration(&health.uptime).is_ok());
        let response = plane.http.head(plane.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_server_with_a_healthy_default_provider_is_ready() {
    let ready = Plane::start().await.client.ready().await.unwrap();
    assert_eq!(ready.status, "ready");
    assert_eq!((ready.ready_providers, ready.total_providers), (1, 1));
    assert_eq!(ready.providers[0].name, "memory");
}

#[tokio::test]
async fn providers_have_the_published_fields() {
    let plane = Plane::start().await;
    plane.spawn().await;
    let providers = plane.client.providers().await.unwrap();
    let provider = &providers[0];
    assert!(provider.healthy && provider.default);
    let first: Vec<_> = provider.capabilities.iter().take(6).map(String::as_str).collect();
    assert_eq!(first, ["spawn", "exec", "exec_stream", "files", "console", "health"]);
    let url = plane.url("/providers/memory");
    let text = plane.http.get(url).send().await.unwrap().text().await.unwrap();
    let expected = ["name", "healthy", "default", "sandbox_count", "health", "config"];
    assert_eq!(keys(&text), expected);
    assert_eq!(plane.client.provider("memory").await.unwrap().sandbox_count, 1);
    assert_eq!(plane.post("/providers/test", "").await.1, json!({"memory": true}));
    let long = "x".repeat(500);
    for name in ["nonesuch", "..%2Fx", &long] {
        let (status, body) = plane.get(&format!("/providers/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_error(&body, "provider_not_found");
        assert!(body["message"].as_str().unwrap().starts_with("provider not found: "));
    }
}

#[tokio::test]
async fn what_this_server_does_not_have_is_said_in_the_published_words() {
    let plane = Plane::start().await;
    assert_eq!(plane.get("/pool/status").await.1, json!({"enabled": false}));
    let expected = json!({
        "total": 0, "with_max_sandboxes": 0, "with_max_ttl": 0, "with_max_exec_timeout": 0,
    });
    assert_eq!(plane.get("/quotas/summary").await.1, expected);
}
