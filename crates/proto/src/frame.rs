//! Frames: a fixed header and a bounded payload.
//!
//! Header, little endian: payload length `u32`, stream id `u32`, kind `u8`. Stream 0 belongs to
//! the connection (hello, ping); the host chooses every other id and never uses one twice on one
//! connection.

/// Bytes in a frame header.
pub const HEADER_LEN: usize = 9;

/// The largest payload in bytes. 256 KiB: past 64 KiB larger frames no longer raise throughput,
/// and a peer that lies about a length costs no more than this much memory.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// Data bytes that each side may send on a new stream before it needs a `window` frame. 1 MiB
/// keeps a local pipe full and bounds what a slow reader makes the other side hold.
pub const INITIAL_WINDOW: u32 = 1024 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame in each direction, on stream 0: a JSON [`Hello`](crate::Hello).
    Hello = 0,
    /// Host to agent: a JSON [`Request`](crate::Request) that starts a stream.
    Open = 1,
    /// Agent to host: a JSON [`Reply`](crate::Reply), or a
    /// [`GuestError`](crate::GuestError) under `error`.
    Reply = 2,
    /// Bytes: standard input or output, file contents, socket data.
    Data = 3,
    /// Bytes of standard error.
    DataErr = 4,
    /// The sender has no more bytes for this stream.
    End = 5,
    /// Four bytes, little endian: the receiver of data has room for so many bytes more.
    Window = 6,
    /// The sender gives the stream up; the payload is a JSON [`GuestError`](crate::GuestError)
    /// or empty.
    Reset = 7,
    /// Agent to host: a JSON [`ExecExit`](crate::ExecExit), after the last output byte.
    Exit = 8,
    /// Asks for a `pong` with the same payload (at most 64 bytes), on stream 0.
    Ping = 9,
    /// The answer to a `ping`.
    Pong = 10,
}

impl Kind {
    /// Whether the payload counts against the stream's window.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::DataErr)
    }
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            0 => Self::Hello,
            1 => Self::Open,
            2 => Self::Reply,
            3 => Self::Data,
            4 => Self::DataErr,
            5 => Self::End,
            6 => Self::Window,
            7 => Self::Reset,
            8 => Self::Exit,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}

/// A decoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow, at most [`MAX_PAYLOAD`].
    pub len: u32,
    /// The stream that the frame belongs to.
    pub stream: u32,
    /// What the payload is.
    pub kind: Kind,
}

/// Why bytes are not a frame. The connection is of no use after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is over [`MAX_PAYLOAD`].
    #[error("read a frame of {0} bytes, over the limit of {MAX_PAYLOAD}")]
    TooLarge(u32),
    /// The kind is none that this generation knows.
    #[error("read a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// A `window` frame whose payload is not four bytes.
    #[error("read a window frame of the wrong size")]
    BadWindow,
}

impl Header {
    /// A header for `payload`.
    ///
    /// # Panics
    /// If `payload` is over [`MAX_PAYLOAD`]: the sender cuts its data to size first.
    pub fn of(kind: Kind, stream: u32, payload: &[u8]) -> Self {
        assert!(payload.len() <= MAX_PAYLOAD, "a frame's payload is cut to size before it is sent");
        let len = u32::try_from(payload.len()).expect("MAX_PAYLOAD is far below u32::MAX");
        Self { len, stream, kind }
    }

    /// The header's bytes.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_le_bytes());
        bytes[8] = self.kind as u8;
        bytes
    }

    /// Reads a header and checks its bounds.
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind] = bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len as usize > MAX_PAYLOAD {
            return Err(FrameError::TooLarge(len));
        }
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        Ok(Self { len, stream, kind: Kind::try_from(kind)? })
    }
}

/// The credit that a `window` frame grants.
pub fn decode_window(payload: &[u8]) -> Result<u32, FrameError> {
    let bytes: [u8; 4] = payload.try_into().map_err(|_| FrameError::BadWindow)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_header_that_decodes_encodes_to_the_same_bytes(bytes: [u8; HEADER_LEN]) {
            if let Ok(header) = Header::decode(bytes) {
                prop_assert_eq!(header.encode(), bytes);
                prop_assert!(header.len as usize <= MAX_PAYLOAD);
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused() {
        let mut bytes = Header::of(Kind::Data, 7, b"x").encode();
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Header::decode(bytes), Err(FrameError::TooLarge(u32::MAX)));
    }

    #[test]
    fn a_kind_from_the_future_is_refused() {
        let mut bytes = Header::of(Kind::Data, 7, b"").encode();
        bytes[8] = 200;
        assert_eq!(Header::decode(bytes), Err(FrameError::UnknownKind(200)));
    }

    #[test]
    fn a_window_frame_is_four_bytes() {
        assert_eq!(decode_window(&[1, 2, 0, 0]), Ok(513));
        assert_eq!(decode_window(&[1, 2, 0]), Err(FrameError::BadWindow));
    }
}
