//! Why a call of the client failed.

use thiserror::Error;

use crate::error::ErrorBody;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nothing answers at the server's address.
    #[error("connect to {server}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What the connection failed with.
        source: reqwest::Error,
    },
    /// The connection failed after it was made, or an answer took too long.
    #[error("talk to the server")]
    Transport(#[source] reqwest::Error),
    /// The answer is not what the route promises: another version, or not our server.
    #[error("understand the server's answer")]
    Answer(#[source] serde_json::Error),
    /// A stream ended before its last line, or a line of it is over its limit.
    #[error("follow the stream: {problem}")]
    Stream {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server's address is not one.
    #[error("use `{address}` as the server's address: expected http://host:port")]
    Address {
        /// The text that was given.
        address: String,
    },
    /// A value cannot be sent as a header.
    #[error("send the header {name}: its value has characters that a header cannot carry")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The HTTP client could not be set up.
    #[error("set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl ClientError {
    /// The server's error, if it answered with one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            Self::Unreachable { .. }
            | Self::Transport(_)
            | Self::Answer(_)
            | Self::Stream { .. }
            | Self::Address { .. }
            | Self::Header { .. }
            | Self::Setup(_) => None,
        }
    }
}

/// An error answer of the server.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}", body.message)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The answer's body; only its message is filled in if it was not in our shape.
    pub body: Box<ErrorBody>,
}
