//! The document describes the routes, and is a valid document.

use serde_json::Value;

use crate::plane::Plane;

#[tokio::test]
async fn every_response_has_a_description_and_every_reference_leads_somewhere() {
    let document = Plane::start().await.client.openapi().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.len() >= 2 && responses.contains_key("default"), "{method} {path}");
            for (status, response) in responses {
                let described = response["description"].as_str().is_some_and(|d| !d.is_empty());
                assert!(described, "{method} {path} {status}");
            }
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path}");
            assert!(operation["security"].is_array(), "{method} {path}");
            for name in path.split('/').filter(|part| part.starts_with('{')) {
                let name = name.trim_matches(['{', '}']);
                let parameters = operation["parameters"].as_array().unwrap();
                let found = parameters.iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(found, "{method} {path} {name}");
            }
            operations.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let count = operations.len();
    operations.sort();
    operations.dedup();
    assert_eq!(operations.len(), count);
    check_references(&document, &document);
}

fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            object.values().for_each(|value| check_references(document, value));
        }
        Value::Array(array) => array.iter().for_each(|value| check_references(document, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_published_route_of_this_server_is_described() {
    let document = Plane::start().await.client.openapi().await.unwrap();
    for (path, methods) in [
        ("/sandboxes", "delete get post"),
        ("/sandboxes/admission", "post"),
        ("/sandboxes/{id}", "delete get"),
        ("/sandboxes/{id}/extend", "post"),
        ("/sandboxes/{id}/exec", "post"),
        ("/sandboxes/{id}/logs", "get"),
        ("/sandboxes/{id}/stats", "get"),
        ("/sandboxes/{id}/files", "delete get post"),
        ("/sandboxes/{id}/files/list", "get"),
        ("/sandboxes/{id}/files/mkdir", "post"),
        ("/sandboxes/{id}/files/copy", "post"),
        ("/sandboxes/{id}/files/archive", "get post"),
        ("/sandboxes/{id}/files/grep", "get"),
        ("/sandboxes/{id}/files/watch", "get"),
        ("/sandboxes/{id}/files/move", "post"),
        ("/sandboxes/{id}/files/chmod", "post"),
        ("/sandboxes/{id}/files/stat", "get"),
        ("/sandboxes/{id}/files/glob", "get"),
        ("/providers", "get"),
        ("/providers/test", "post"),
        ("/providers/{name}", "get"),
        ("/events", "get"),
        ("/health", "get"),
        ("/live", "get"),
        ("/ready", "get"),
        ("/pool/status", "get"),
        ("/quotas/summary", "get"),
        ("/openapi.json", "get"),
    ] {
        let item = document["paths"][format!("/api/v1{path}")].as_object();
        let mut found: Vec<_> = item.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), methods, "{path}");
    }
}
