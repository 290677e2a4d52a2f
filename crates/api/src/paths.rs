//! Where the routes are. `{id}` and `{name}` are path parameters in the server's notation.

/// Every route of the API begins with this.
pub const BASE: &str = "/api/v1";

/// The port that the server listens on unless it is told another.
pub const DEFAULT_PORT: u16 = 7423;

/// The header with an API key.
pub const API_KEY: &str = "X-API-Key";

/// The header with the administrator's API key.
pub const ADMIN_API_KEY: &str = "X-Admin-API-Key";

/// The header that names a request, in both directions.
pub const REQUEST_ID: &str = "X-Request-ID";

/// The header that says whom a sandbox is attributed to.
pub const USER_ID: &str = "X-User-ID";

/// The header by which a request can be sent again without doing its work twice.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The header with the cursor of the next part of a list, when there is one.
pub const NEXT_CURSOR: &str = "X-Next-Cursor";

/// The header that says that there is more than was asked for.
pub const TRUNCATED: &str = "X-Truncated";

/// The type of a stream of one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";
