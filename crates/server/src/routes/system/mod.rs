//! Routes of the server itself.

pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod live;
pub(crate) mod openapi;
pub(crate) mod pool;
pub(crate) mod quotas;
pub(crate) mod ready;
