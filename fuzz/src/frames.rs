//! Frames as either side reads them from the other: headers, and the messages in payloads.

use proto::{ExecExit, GuestError, HEADER_LEN, Header, Hello, Kind, MAX_PAYLOAD, Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Frames one after another, until the input ends or one is refused, as a connection is read.
pub fn run(input: &[u8]) {
    let mut rest = input;
    while let Some((head, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        let Ok(header) = Header::decode(*head) else { return };
        assert_eq!(header.encode(), *head, "a header has one form");
        let len = header.len as usize;
        assert!(len <= MAX_PAYLOAD);
        let Some((payload, behind)) = behind.split_at_checked(len) else { return };
        message(header.kind, payload);
        rest = behind;
    }
}

fn message(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Hello => round_trip::<Hello>(payload),
        Kind::Open => round_trip::<Request>(payload),
        Kind::Reply => round_trip::<Reply>(payload),
        Kind::Exit => round_trip::<ExecExit>(payload),
        Kind::Reset => round_trip::<GuestError>(payload),
        Kind::Window => {
            let credit = proto::frame::decode_window(payload);
            assert_eq!(credit.is_ok(), payload.len() == 4);
        }
        Kind::Data | Kind::DataErr | Kind::End | Kind::Ping | Kind::Pong => {}
    }
}

/// What is read can be sent on, and then reads as the same.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(payload: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(payload) else { return };
    let text = serde_json::to_vec(&message).expect("a message can always be written");
    let again: T = serde_json::from_slice(&text).expect("what we write can be read");
    assert_eq!(again, message);
}
