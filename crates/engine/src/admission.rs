//! Whether a sandbox could be made now: the same limits that making one meets, without making
//! one.

use std::time::Duration;

use model::Failure;

use crate::plane::Plane;
use crate::request::{Caller, NewSandbox};
use crate::validate;

/// The answer to a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether a create would be let through now.
    pub allowed: bool,
    /// Which limit is in the way: `max_ttl`, `max_sandboxes` or `max_sandboxes_per_owner`.
    pub reason: Option<&'static str>,
    /// Sandboxes that count against the limit.
    pub active_sandboxes: u32,
    /// How many there may be; 0 is no limit.
    pub max_sandboxes: u32,
    /// Sandboxes of the same owner.
    pub active_owner_sandboxes: u32,
    /// How many one owner may have; 0 is no limit.
    pub max_owner_sandboxes: u32,
    /// The longest time to live.
    pub max_ttl: Duration,
}

impl Plane {
    pub(crate) async fn admission(
        &self,
        caller: &Caller,
        new: &NewSandbox,
    ) -> Result<Admission, Failure> {
        let options = &self.options;
        let owner = validate::owner(caller.owner.as_deref().or(new.owner.as_deref()))?;
        let ttl = new.ttl.unwrap_or(options.default_ttl);
        if ttl.is_zero() {
            validate::ttl(options, ttl)?;
        }
        let active = self.store.count_active(owner.as_deref()).await?;
        let full = |active: u32, max: u32| max > 0 && active >= max;
        let reason = if ttl > options.max_ttl {
            Some("max_ttl")
        } else if full(active.total, options.max_sandboxes) {
            Some("max_sandboxes")
        } else if owner.is_some() && full(active.owner, options.max_sandboxes_per_owner) {
            Some("max_sandboxes_per_owner")
        } else {
            None
        };
        Ok(Admission {
            allowed: reason.is_none(),
            reason,
            active_sandboxes: active.total,
            max_sandboxes: options.max_sandboxes,
            active_owner_sandboxes: active.owner,
            max_owner_sandboxes: options.max_sandboxes_per_owner,
            max_ttl: options.max_ttl,
        })
    }
}
