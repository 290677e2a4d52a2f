//! Files: validators and what is done only under a condition, parts of listings, directories.

use api::MkdirRequest;
use api::client::WriteIf;
use futures::stream;
use reqwest::StatusCode;

use crate::plane::Plane;

fn body(
    text: &'static str,
) -> impl futures::TryStream<Ok = &'static str, Error = std::io::Error> + Send {
    stream::iter([Ok(text)])
}

#[tokio::test]
async fn a_file_is_replaced_only_as_the_one_that_the_client_knows() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let target = ("/workspace/f", None);
    let write = |condition, text| plane.client.write_file_if(&id, target, condition, body(text));
    let first = write(WriteIf::Absent, "one").await.unwrap();
    let etag = first.etag.unwrap();
    assert_eq!(plane.client.stat_file(&id, target.0).await.unwrap().etag.as_ref(), Some(&etag));
    let refused = |error: api::client::ClientError| {
        let answer = error.api().unwrap().clone();
        assert_eq!((answer.status, answer.body.reason.as_str()), (412, "file_changed"));
    };
    refused(write(WriteIf::Absent, "two").await.unwrap_err());
    let second = write(WriteIf::Matches(&etag), "two").await.unwrap();
    refused(write(WriteIf::Matches(&etag), "three").await.unwrap_err());
    let url = plane.url(&format!("/sandboxes/{id}/files?path=/workspace/f"));
    let response = plane.http.get(&url).send().await.unwrap();
    assert_eq!(response.headers()["etag"].to_str().unwrap(), second.etag.unwrap());
    assert_eq!(response.text().await.unwrap(), "two");
    let bad = plane.http.post(&url).header("if-match", "unquoted").body("x").send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again_and_parts_are_of_one_file() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let written = plane.client.write_file(&id, ("/workspace/f", None), body("0123456789")).await;
    let etag = written.unwrap().etag.unwrap();
    let url = plane.url(&format!("/sandboxes/{id}/files?path=/workspace/f"));
    let response = plane.http.get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.headers()["etag"].to_str().unwrap(), etag);
    assert!(response.bytes().await.unwrap().is_empty());
    for (if_range, status, expected) in [
        (etag.as_str(), 206, "23"),
        ("\"other\"", 200, "0123456789"),
        ("W/\"x\"", 200, "0123456789"),
    ] {
        let request = plane.http.get(&url).header("range", "bytes=2-3");
        let response = request.header("if-range", if_range).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{if_range}");
        assert_eq!(response.text().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_listing_comes_in_parts() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let make = |path: &str, parents| MkdirRequest {
        path: Some(path.to_owned()),
        mode: None,
        parents: Some(parents),
    };
    let client = &plane.client;
    for number in 0..7 {
        let path = format!("/workspace/d/{number}");
        client.make_directory(&id, &make(&path, true)).await.unwrap();
    }
    let again = client.make_directory(&id, &make("/workspace/d", false)).await.unwrap_err();
    assert_eq!(again.api().unwrap().body.reason, "file_exists");
    assert_eq!(
        client.make_directory(&id, &make("/workspace/d", true)).await.unwrap().status,
        "created"
    );
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.list_files_page(&id, "/workspace/d", (3, cursor.as_deref())).await;
        let (files, next) = page.unwrap();
        found.extend(files.into_iter().map(|file| file.name));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found.concat(), "0123456");
}
