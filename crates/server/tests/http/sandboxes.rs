//! Making, seeing and ending sandboxes.

use api::SpawnRequest;
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::plane::{Plane, assert_error, keys};

#[tokio::test]
async fn a_sandbox_is_created_running_with_the_published_fields() {
    let plane = Plane::start().await;
    let body = r#"{"image":"host","memory_mb":256,"vcpus":1,"ttl":"5m","metadata":{"a":"b"}}"#;
    let response = plane.http.post(plane.url("/sandboxes")).header("x-user-id", "amy");
    let response = response.body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let text = response.text().await.unwrap();
    let expected = [
        "id",
        "state",
        "provider",
        "image",
        "memory_mb",
        "vcpus",
        "owner_id",
        "worker_id",
        "created_at",
        "expires_at",
        "metadata",
        "preview_domain",
    ];
    assert_eq!(keys(&text), expected);
    let sandbox: api::Sandbox = serde_json::from_str(&text).unwrap();
    assert_eq!((sandbox.state.as_str(), sandbox.memory_mb), ("running", 256));
    assert_eq!(sandbox.owner_id.as_deref(), Some("amy"));
    let domain = format!("localhost:{}", plane.address.port());
    assert_eq!(sandbox.preview_domain, Some(domain));
    assert!(sandbox.created_at.ends_with('Z'));
}

#[tokio::test]
async fn null_and_empty_fields_count_as_absent() {
    let plane = Plane::start().await;
    let body = r#"{"image":"","provider":null,"ttl":"","metadata":null}"#;
    assert_eq!(plane.post("/sandboxes", body).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn the_list_is_newest_first_and_empty_is_an_array() {
    let plane = Plane::start().await;
    assert_eq!(plane.get("/sandboxes").await.1, json!([]));
    let (first, second) = (plane.spawn().await, plane.spawn().await);
    let ids = |list: Vec<api::Sandbox>| list.into_iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(ids(plane.client.list().await.unwrap()), [second.clone(), first.clone()]);
    plane.client.destroy(&second).await.unwrap();
    assert_eq!(ids(plane.client.list().await.unwrap()), [first]);
    assert_eq!(plane.get("/sandboxes/?state=error").await.1, json!([]));
}

#[tokio::test]
async fn a_destroyed_sandbox_is_gone_and_is_destroyed_again() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    for _ in 0..2 {
        let (status, body) = plane.send(Method::DELETE, &format!("/sandboxes/{id}"), "").await;
        assert_eq!((status, body), (StatusCode::OK, json!({"status": "destroyed"})));
        assert!(plane.provider.names().is_empty());
    }
    let (status, body) = plane.get(&format!("/sandboxes/{id}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&body, "sandbox_gone");
    assert_eq!(body["message"], format!("sandbox destroyed: {id}"));
}

#[tokio::test]
async fn a_delete_that_does_not_wait_is_accepted() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let path = format!("/sandboxes/{id}?wait=false");
    let (status, body) = plane.send(Method::DELETE, &path, "").await;
    assert_eq!((status, body), (StatusCode::ACCEPTED, json!({"status": "destroying"})));
    let path = format!("/sandboxes/{id}?wait=perhaps");
    let (status, body) = plane.send(Method::DELETE, &path, "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_error(&body, "invalid_field");
}

#[tokio::test]
async fn an_extension_counts_from_now() {
    let plane = Plane::start().await;
    let sandbox = plane.client.spawn(&SpawnRequest::default()).await.unwrap();
    let longer = plane.client.extend(&sandbox.id, "2h").await.unwrap();
    assert!(longer.expires_at > sandbox.expires_at);
    let path = format!("/sandboxes/{}/extend", sandbox.id);
    for (body, status, reason) in [
        ("{}", 400, "missing_field"),
        (r#"{"ttl":"soon"}"#, 400, "invalid_field"),
        (r#"{"ttl":"-5m"}"#, 400, "invalid_field"),
        (r#"{"ttl":"0s"}"#, 400, "invalid_field"),
        (r#"{"ttl":"48h"}"#, 429, "ttl_too_long"),
    ] {
        let (found, error) = plane.post(&path, body).await;
        assert_eq!(found.as_u16(), status, "{body}");
        assert_error(&error, reason);
    }
}

#[tokio::test]
async fn admission_has_only_the_published_fields_and_makes_nothing() {
    let plane = Plane::start().await;
    plane.spawn().await;
    let published = [
        "allowed",
        "queueable",
        "reason",
        "active_sandboxes",
        "max_sandboxes",
        "active_owner_sandboxes",
        "max_owner_sandboxes",
        "max_ttl",
    ];
    for (body, allowed) in [("{}", true), (r#"{"ttl":"48h","owner_id":"amy"}"#, false)] {
        let (status, answer) = plane.post("/sandboxes/admission", body).await;
        assert_eq!((status, &answer["allowed"]), (StatusCode::OK, &json!(allowed)), "{answer}");
        assert_eq!(answer["active_sandboxes"], 1);
        assert!(answer.as_object().unwrap().keys().all(|key| published.contains(&key.as_str())));
    }
    assert_eq!(plane.provider.names().len(), 1);
}

#[tokio::test]
async fn the_limit_on_sandboxes_is_said_with_when_to_come_back() {
    let plane = Plane::start().await;
    for _ in 0..8 {
        plane.spawn().await;
    }
    let response = plane.http.post(plane.url("/sandboxes")).body("{}").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    let body = response.json().await.unwrap();
    assert_error(&body, "too_many_sandboxes");
    assert!(body["message"].as_str().unwrap().starts_with("resource limit exceeded: "));
}

#[tokio::test]
async fn prune_says_how_many() {
    let plane = Plane::start().await;
    plane.spawn().await;
    assert_eq!(plane.client.prune().await.unwrap().pruned, 0);
}

#[tokio::test]
async fn a_create_that_fails_leaves_nothing() {
    let plane = Plane::start().await;
    let (status, body) = plane.post("/sandboxes", r#"{"image":"missing"}"#).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&body, "image_not_found");
    assert!(plane.provider.names().is_empty());
}

#[tokio::test]
async fn logs_and_stats_are_of_the_sandbox() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    // The test double forgets the output of a program that has ended.
    let request = crate::plane::shell("echo one; echo two; sleep 600");
    let mut running = plane.client.exec_stream(&id, &request).await.unwrap();
    for _ in 0..2 {
        running.next().await.unwrap().unwrap();
    }
    assert_eq!(plane.client.logs(&id, 1).await.unwrap(), ["two"]);
    let answer = plane.get(&format!("/sandboxes/{id}/logs?lines=-3")).await;
    assert_eq!(answer, (StatusCode::OK, json!(["one", "two"])));
    let stats = plane.client.stats(&id).await.unwrap();
    assert!(stats.supported && stats.mem_limit_bytes.is_some());
}
