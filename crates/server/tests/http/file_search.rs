//! Files: lines that are found, changes that are followed.

use futures::{StreamExt, stream};
use reqwest::StatusCode;

use crate::plane::{Plane, assert_error};

async fn write(plane: &Plane, id: &str, path: &str, text: &'static str) {
    let body = stream::iter([Ok::<_, std::io::Error>(text)]);
    plane.client.write_file(id, (path, None), body).await.unwrap();
}

#[tokio::test]
async fn lines_are_found_and_more_than_the_limit_is_said() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    write(&plane, &id, "/workspace/a", "one\ntwo two\n").await;
    let (lines, truncated) = plane.client.grep_files(&id, "/workspace", "tw").await.unwrap();
    assert_eq!((lines.len(), lines[0].line, lines[0].column, truncated), (1, 2, 1, false));
    assert_eq!((lines[0].path.as_str(), lines[0].text.as_str()), ("/workspace/a", "two two"));
    let url = plane.url(&format!("/sandboxes/{id}/files/grep?path=/workspace&pattern=o&limit=1"));
    let response = plane.http.get(url).send().await.unwrap();
    assert_eq!(response.headers()["x-truncated"], "true");
    for (query, reason) in [
        ("path=/workspace", "missing_field"),
        ("pattern=x", "missing_field"),
        ("path=/workspace&pattern=x&limit=10001", "invalid_field"),
        ("path=/workspace&pattern=x&glob=a/b", "invalid_field"),
        ("path=/workspace&pattern=x&recursive=1", "invalid_field"),
    ] {
        let (status, error) = plane.get(&format!("/sandboxes/{id}/files/grep?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_error(&error, reason);
        if query.contains("10001") {
            assert_eq!(error["details"]["limit"], "limits.grep_matches");
            assert_eq!(
                (&error["details"]["max"], &error["details"]["field"]),
                (&10_000.into(), &"limit".into())
            );
        }
    }
}

#[tokio::test]
async fn changes_are_followed_until_the_client_leaves() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut events = plane.client.watch_files(&id, "/workspace", false).await.unwrap();
    write(&plane, &id, "/workspace/a", "x").await;
    write(&plane, &id, "/workspace/a", "y").await;
    plane.client.move_file(&id, "/workspace/a", "/workspace/b").await.unwrap();
    plane.client.delete_file(&id, "/workspace/b", false).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..4 {
        let event = events.next().await.unwrap().unwrap();
        found.push((event.kind, event.path, event.from));
    }
    let expected = [
        ("created", "/workspace/a", None),
        ("modified", "/workspace/a", None),
        ("moved", "/workspace/b", Some("/workspace/a".to_owned())),
        ("deleted", "/workspace/b", None),
    ];
    assert_eq!(found, expected.map(|(kind, path, from)| (kind.to_owned(), path.to_owned(), from)));
    let missing = plane.client.watch_files(&id, "/nonesuch", true).await;
    assert_eq!(missing.err().unwrap().api().unwrap().status, 404);
}
