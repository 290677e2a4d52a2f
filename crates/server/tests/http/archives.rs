//! Archives through the server: formats, bombs, and what is wrong with them.

use api::ArchiveFormat;
use engine::EngineOptions;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;

use crate::plane::{Plane, assert_error, engine_options};

async fn read(plane: &Plane, id: &str, path: &str, format: ArchiveFormat) -> Vec<u8> {
    let stream = plane.client.read_archive(id, path, format).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

fn body(
    bytes: &[u8],
) -> impl futures::TryStream<Ok = Vec<u8>, Error = std::io::Error> + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(50_000).map(|chunk| Ok(chunk.to_vec())).collect();
    stream::iter(chunks)
}

async fn post(
    plane: &Plane,
    id: &str,
    query: &str,
    bytes: Vec<u8>,
) -> (StatusCode, serde_json::Value) {
    let url = plane.url(&format!("/sandboxes/{id}/files/archive?{query}"));
    let response = plane.http.post(url).body(bytes).send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_tree_goes_through_every_format() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let contents: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for name in ["a b", "sub/c", "sub/d"] {
        let path = format!("/workspace/tree/{name}");
        plane.client.write_file(&id, (&path, Some("0600")), body(&contents)).await.unwrap();
    }
    for format in ArchiveFormat::ALL {
        let bytes = read(&plane, &id, "/workspace/tree", format).await;
        let target = format!("/workspace/{}", format.word());
        let done = plane.client.write_archive(&id, (&target, format), body(&bytes)).await.unwrap();
        assert_eq!((done.status.as_str(), done.entries), ("unpacked", 4));
        assert_eq!(done.bytes, 12_000_000);
        // The same, told by its first bytes.
        let (status, answer) = post(&plane, &id, "path=/workspace/again", bytes.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let again = read(&plane, &id, "/workspace/again", format).await;
        assert_eq!(again, read(&plane, &id, &target, format).await);
        let found = plane.client.read_file(&id, &format!("{target}/sub/d")).await.unwrap();
        assert!(found.try_collect::<Vec<_>>().await.unwrap().concat() == contents);
    }
    let one = read(&plane, &id, "/workspace/tree/a b", ArchiveFormat::Tar).await;
    assert_eq!(&one[..4], b"a b\0");
}

#[tokio::test]
async fn a_bomb_is_found_before_it_goes_off() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let zero = bytes::Bytes::from(vec![0; 1 << 20]);
    for format in [ArchiveFormat::Gzip, ArchiveFormat::Zstd] {
        let target = ("/workspace/zeros", None);
        let source = stream::repeat(zero.clone()).take(100).map(Ok::<_, std::io::Error>);
        plane.client.write_file(&id, target, source).await.unwrap();
        let bytes = read(&plane, &id, "/workspace/zeros", format).await;
        assert!(bytes.len() < 500_000);
        let (status, error) = post(&plane, &id, "path=/workspace/x", bytes).await;
        if format == ArchiveFormat::Zstd {
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{error}");
            assert_error(&error, "too_large");
            assert_eq!(
                (&error["details"]["limit"], &error["details"]["max"]),
                (&"limits.archive_ratio".into(), &1000.into())
            );
            assert!(error["hint"].as_str().unwrap().contains("`limits.archive_ratio`"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_archive_over_a_configured_limit_names_the_key() {
    let few = |change: fn(&mut EngineOptions)| async move {
        let mut options = engine_options();
        change(&mut options);
        let plane = Plane::start_on(options).await;
        let id = plane.spawn().await;
        for name in ["a", "b"] {
            let path = format!("/workspace/tree/{name}");
            plane.client.write_file(&id, (&path, None), body(&[b'x'; 5000])).await.unwrap();
        }
        let bytes = read(&plane, &id, "/workspace/tree", ArchiveFormat::Tar).await;
        post(&plane, &id, "path=/workspace/x", bytes).await
    };
    for (key, max, (status, error)) in [
        ("limits.archive_entries", 1, few(|options| options.max_archive_entries = 1).await),
        ("limits.archive_bytes", 9999, few(|options| options.max_archive_bytes = 9999).await),
    ] {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{error}");
        assert_error(&error, "too_large");
        let details = &error["details"];
        assert_eq!((&details["limit"], &details["max"]), (&key.into(), &max.into()), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(&format!("`{key}`")), "{error}");
    }
    let (status, answer) = few(|options| options.max_archive_bytes = 10_000).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn what_is_no_archive_is_said_so() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let gzip = b"\x1f\x8b\x08\0rubbish and more rubbish".to_vec();
    let zstd = b"\x28\xb5\x2f\xfdrubbish and more rubbish".to_vec();
    for (query, bytes, status, reason) in [
        ("path=/workspace/x", b"hello".to_vec(), 400, "archive_invalid"),
        ("path=/workspace/x", Vec::new(), 400, "archive_invalid"),
        ("path=/workspace/x", gzip, 400, "archive_invalid"),
        ("path=/workspace/x", zstd, 400, "archive_invalid"),
        ("path=/workspace/x&format=tar.gz", vec![0; 1024], 400, "archive_invalid"),
        ("path=/workspace/x&format=zip", vec![0; 1024], 400, "invalid_field"),
        ("format=tar", vec![0; 1024], 400, "missing_field"),
    ] {
        let (found, error) = post(&plane, &id, query, bytes).await;
        assert_eq!(found.as_u16(), status, "{query}: {error}");
        assert_error(&error, reason);
    }
    let copy = plane.client.copy_file(&id, ("/workspace", "/workspace/in/itself"), true).await;
    assert_eq!(copy.unwrap_err().api().unwrap().body.reason, "path_invalid");
    let missing = plane.client.read_archive(&id, "/nonesuch", ArchiveFormat::Zstd).await;
    assert_eq!(missing.err().unwrap().api().unwrap().status, 404);
}
