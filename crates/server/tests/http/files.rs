//! Files, byte for byte.

use futures::{StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::plane::{Plane, assert_error, keys};

async fn read(plane: &Plane, id: &str, path: &str) -> Vec<u8> {
    let stream = plane.client.read_file(id, path).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn text_and_base64_and_raw_bytes_are_written() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let files = format!("/sandboxes/{id}/files");
    for (body, expected) in [
        (json!({"path": "/workspace/a", "content": "héllo"}), "héllo".as_bytes()),
        (json!({"path": "/workspace/a", "content": "AP8=", "encoding": "base64"}), b"\0\xff"),
        (json!({"path": "/workspace/a", "content": null, "mode": "0755"}), b""),
    ] {
        let (status, answer) = plane.post(&files, &body.to_string()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["status"], "written");
        assert_eq!(answer["size"], expected.len());
        assert_eq!(read(&plane, &id, "/workspace/a").await, expected);
    }
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let chunks = body.chunks(65_536).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let stream = futures::stream::iter(chunks.collect::<Vec<_>>());
    let target = ("/workspace/new/dir/b c%2F", Some("0600"));
    plane.client.write_file(&id, target, stream).await.unwrap();
    assert_eq!(read(&plane, &id, target.0).await, body);
    assert_eq!(plane.client.stat_file(&id, target.0).await.unwrap().mode, "0600");
}

#[tokio::test]
async fn a_description_has_the_published_fields() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let url = plane.url(&format!("/sandboxes/{id}/files/stat?path=/workspace"));
    let text = plane.http.get(url).send().await.unwrap().text().await.unwrap();
    let mut expected =
        vec!["name", "path", "size", "mode", "is_dir", "mod_time", "type", "uid", "gid"];
    expected.push("etag");
    assert_eq!(keys(&text), expected);
    let info: api::FileInfo = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (info.name.as_str(), info.kind.as_str(), info.is_dir),
        ("workspace", "directory", true)
    );
    let names: Vec<_> = plane.client.list_files(&id, "").await.unwrap();
    assert!(names.iter().any(|info| info.path == "/workspace"), "{names:?}");
}

#[tokio::test]
async fn files_are_moved_changed_found_and_deleted() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let empty = || futures::stream::empty::<Result<Vec<u8>, std::io::Error>>();
    plane.client.write_file(&id, ("/workspace/a", None), empty()).await.unwrap();
    let client = &plane.client;
    assert_eq!(
        client.move_file(&id, "/workspace/a", "/workspace/b").await.unwrap().status,
        "moved"
    );
    let status = client.chmod_file(&id, "/workspace/b", "0700").await.unwrap().status;
    assert_eq!(status, "chmod applied");
    assert_eq!(client.stat_file(&id, "/workspace/b").await.unwrap().mode, "0700");
    assert_eq!(client.glob_files(&id, "/workspace/*").await.unwrap(), ["/workspace/b"]);
    assert_eq!(client.delete_file(&id, "/workspace/b", false).await.unwrap().status, "deleted");
    assert!(client.glob_files(&id, "/workspace/*").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_range_is_a_part_with_its_place() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let body = futures::stream::once(async { Ok::<_, std::io::Error>("0123456789") });
    plane.client.write_file(&id, ("/workspace/n", None), body.boxed()).await.unwrap();
    let url = plane.url(&format!("/sandboxes/{id}/files?path=/workspace/n"));
    for (range, status, place, expected) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=-99", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=x", 200, "", "0123456789"),
    ] {
        let response = plane.http.get(&url).header("range", range).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{range}");
        let found = response.headers().get("content-range").map(|v| v.to_str().unwrap());
        assert_eq!(found.unwrap_or_default(), place, "{range}");
        assert_eq!(response.headers()["content-length"], expected.len().to_string(), "{range}");
        assert_eq!(response.text().await.unwrap(), expected, "{range}");
    }
    let response = plane.http.get(&url).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()["content-range"], "bytes */10");
    let response = plane.http.head(&url).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "10");
    assert!(response.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_path_is_the_clients_to_mend() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    for (method, path, status, reason) in [
        (Method::GET, "files", 400, "missing_field"),
        (Method::GET, "files?path=", 400, "missing_field"),
        (Method::GET, "files?path=a", 400, "path_invalid"),
        (Method::GET, "files?path=/a%00", 400, "path_invalid"),
        (Method::GET, "files?path=/a&path=/b", 400, "invalid_field"),
        (Method::GET, "files?paht=/a", 400, "unknown_field"),
        (Method::GET, "files?path=/nonesuch", 404, "file_not_found"),
        (Method::GET, "files?path=/workspace", 400, "is_a_directory"),
        (Method::GET, "files/stat?path=/nonesuch", 404, "file_not_found"),
        (Method::GET, "files/list?path=/nonesuch", 404, "file_not_found"),
        (Method::GET, "files/list?path=/&limit=0", 400, "invalid_field"),
        (Method::GET, "files/list?path=/&limit=10001", 400, "invalid_field"),
        (Method::GET, "files/list?path=/&cursor=%C3%A4", 400, "invalid_field"),
        (Method::GET, "files/glob?pattern=/*&limit=x", 400, "invalid_field"),
        (Method::GET, "files/glob?pattern=/*&limit=1", 413, "too_large"),
        (Method::GET, "files/glob", 400, "missing_field"),
        (Method::DELETE, "files?path=/nonesuch", 404, "file_not_found"),
        (Method::DELETE, "files?path=/workspace&recursive=yes", 400, "invalid_field"),
    ] {
        let (found, body) = plane.send(method, &format!("/sandboxes/{id}/{path}"), "").await;
        assert_eq!(found.as_u16(), status, "{path}: {body}");
        assert_error(&body, reason);
    }
    for (path, body, reason) in [
        ("files", json!({"path": "/w", "mode": "rw"}), "invalid_field"),
        ("files", json!({"path": "/w", "content": "?", "encoding": "base64"}), "invalid_field"),
        ("files/move", json!({"old_path": "/w"}), "missing_field"),
        ("files/mkdir", json!({}), "missing_field"),
        ("files/mkdir", json!({"path": "/w", "mode": "x"}), "invalid_field"),
        ("files/chmod", json!({"path": "/w"}), "missing_field"),
        ("files/chmod", json!({"path": "/w", "mode": "99"}), "invalid_field"),
    ] {
        let (status, error) =
            plane.post(&format!("/sandboxes/{id}/{path}"), &body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {error}");
        assert_error(&error, reason);
    }
}
