//! Tests of the whole product on real parts: the release binary, real sandboxes, real ports. They
//! are in `tests/`, one file per area; there is no library.
