//! `GET /sandboxes/{id}/exec/ws`: runs a program over a WebSocket.

use api::{ExecInput, ExecOutput};
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::response::Response;
use http::header::UPGRADE;
use http::{HeaderValue, StatusCode};
use model::{Failure, Reason};

use crate::envelope::RequestId;
use crate::error::ApiError;
use crate::extract::{By, Id};
use crate::socket::{self, MESSAGE_BYTES_MAX};
use crate::state::{Peer, Plane};

/// Run a program over a WebSocket.
///
/// The first message starts it: a JSON text, `{"type":"start"}` with the fields of a request to run
/// a program (`stdin` and `tty` among them; not `stream` and `background`). Then the client sends
/// JSON texts (`stdin`, `close_stdin`, `resize`, `signal`), or binary messages with bytes for
/// standard input. The server answers `started`, then output as binary messages whose first byte is
/// 1 for standard output and 2 for standard error (as JSON texts when the start has an `encoding`),
/// and at last `exit`. No message is over 1 MiB. A client that goes away ends the program only with
/// `kill_on_disconnect`; else it is found among the sandbox's execs.
#[utoipa::path(
    get, path = "/api/v1/sandboxes/{id}/exec/ws", operation_id = "exec_ws", tag = "exec",
    params(("id" = String, Path, description = "The sandbox.")),
    responses(
        (status = 101, description = "The socket is open.",
            content(
                (ExecOutput = "application/json"),
                (ExecInput = "application/json; of=client"),
            ),
        ),
    ),
)]
pub(crate) async fn ws(
    State(plane): State<Plane>,
    (By(caller), Id(id)): (By, Id),
    Extension(request_id): Extension<RequestId>,
    peer: Option<Extension<Peer>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| no_upgrade())?;
    // A sandbox that is not there is an answer, not a socket.
    plane.engine.get(&caller, &id).await?;
    let peer = peer.map(|Extension(peer)| peer);
    let session = socket::Session { plane, caller, id, request_id, peer };
    Ok(upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX).on_upgrade(
        move |socket| async move {
            Box::pin(session.run(socket)).await;
        },
    ))
}

fn no_upgrade() -> ApiError {
    let message = "invalid input: this route is for WebSockets";
    let failure = Failure::new(Reason::InvalidField, message)
        .detail("field", "Upgrade")
        .hint("connect with a WebSocket client, or use POST .../exec");
    ApiError::from(failure)
        .with_status(StatusCode::UPGRADE_REQUIRED)
        .with_header(UPGRADE, HeaderValue::from_static("websocket"))
}
