//! HTTP in front of the engine: the REST API, its event stream, and the preview gateway.
//!
//! A handler extracts, converts, calls the engine and converts back; nothing here decides about
//! sandboxes. The command line composes it: [`Server::bind`], then [`Bound::run`]. The whole
//! surface is on one screen in `router`; a request passes, from the outside in,
//!
//! ```text
//! envelope (request id, error shape, log) → panics → preview hosts leave for the gateway
//!   → CORS → origin and host → credential → route
//! ```

mod auth;
mod compression;
mod convert;
mod envelope;
mod error;
mod etag;
mod events;
mod extract;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod ndjson;
mod openapi;
mod options;
mod preview;
mod range;
mod router;
mod routes;
mod serve;
mod signal;
mod socket;
mod state;
mod text;

pub use options::{BindError, ServerOptions};
pub use serve::{Bound, Server};
