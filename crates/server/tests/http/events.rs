//! The event stream: replay, order, silence, and its end.

use futures::StreamExt;
use reqwest::StatusCode;

use crate::plane::{Plane, assert_error};

#[tokio::test]
async fn a_replay_is_without_gaps_and_goes_on_with_what_happens() {
    let plane = Plane::start().await;
    let id = plane.spawn().await;
    let mut events = plane.client.events(Some(0)).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(
        (first.seq, first.id.as_str(), first.kind.as_str()),
        (1, "evt-1", "sandbox.created")
    );
    assert_eq!(first.sandbox_id.as_deref(), Some(id.as_str()));
    plane.client.destroy(&id).await.unwrap();
    let mut seq = 1;
    loop {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.seq, seq + 1);
        seq = event.seq;
        if event.kind == "sandbox.destroyed" {
            break;
        }
    }
    let mut rest = plane.client.events(Some(seq - 1)).await.unwrap();
    assert_eq!(rest.next().await.unwrap().unwrap().seq, seq);
}

#[tokio::test]
async fn without_a_start_only_what_happens_from_now_on_is_sent() {
    let plane = Plane::start().await;
    plane.spawn().await;
    let mut events = plane.client.events(None).await.unwrap();
    let second = plane.spawn().await;
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(event.sandbox_id, Some(second));
}

#[tokio::test]
async fn a_frame_is_an_id_and_data_and_silence_is_filled_with_comments() {
    let plane = Plane::start().await;
    plane.spawn().await;
    let request = plane.http.get(plane.url("/events")).header("last-event-id", "0");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains(": heartbeat\n\n") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.starts_with("id: 1\ndata: {\"id\":\"evt-1\",\"type\":\"sandbox.created\","));
}

#[tokio::test]
async fn a_start_that_is_no_number_is_refused() {
    let plane = Plane::start().await;
    for after in ["x", "-1", "1.5", "99999999999999999999"] {
        let (status, body) = plane.get(&format!("/events?after={after}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_error(&body, "invalid_field");
    }
}

#[tokio::test]
async fn a_stream_of_events_does_not_hold_up_the_end_of_the_server() {
    let mut plane = Plane::start().await;
    let mut events = plane.client.events(None).await.unwrap();
    plane.stop.cancel();
    assert!(events.next().await.is_none());
    (&mut plane.served).await.unwrap();
}

#[tokio::test]
async fn a_replay_of_many_pages_is_whole() {
    let plane = Plane::start().await;
    let caller = engine::Caller::default();
    for _ in 0..100 {
        let id = plane.spawn().await;
        plane.engine.delete(&caller, &id.parse().unwrap(), true).await.unwrap();
    }
    let last = *plane.engine.event_signal().borrow();
    assert!(last >= 300, "{last}");
    let events = plane.client.events(Some(0)).await.unwrap();
    let count = usize::try_from(last).unwrap();
    let seqs: Vec<_> = events.take(count).map(|event| event.unwrap().seq).collect().await;
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
}
