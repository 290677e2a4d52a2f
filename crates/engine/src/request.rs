//! What callers ask for, before it is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::{ExecProgram, TtySize};
use store::Key;

/// On whose behalf something is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Whom the request names as its owner: attribution, not identity.
    pub owner: Option<String>,
    /// The request's id, for the log and the audit trail.
    pub request_id: Option<String>,
}

/// A caller's word for one request, and what tells that request from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The word.
    pub key: String,
    /// A digest of the request.
    pub fingerprint: String,
}

impl IdempotencyKey {
    /// The key among those of one caller for one kind of request.
    pub(crate) fn within(&self, caller: &Caller, kind: &str) -> Key {
        let owner = caller.owner.as_deref().unwrap_or_default();
        Key {
            scope: format!("{kind} {owner}"),
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// A sandbox that should be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSandbox {
    /// Its image; the default one when absent.
    pub image: Option<String>,
    /// Its provider; the default one when absent.
    pub provider: Option<String>,
    /// Its memory in MiB; the default when absent.
    pub memory_mib: Option<u32>,
    /// Its processor cores; the default when absent.
    pub vcpus: Option<u32>,
    /// How long it lives; the default when absent.
    pub ttl: Option<Duration>,
    /// Its owner, unless the [`Caller`] names one.
    pub owner: Option<String>,
    /// The caller's own labels.
    pub metadata: BTreeMap<String, String>,
    /// Under the same key the same request makes one sandbox, however often it is sent.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// A program that should be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExec {
    /// What to run.
    pub program: ExecProgram,
    /// Added to the environment of the image.
    pub env: Vec<(String, String)>,
    /// Where to start; the image's working directory when absent.
    pub workdir: Option<String>,
    /// How long it may run; the configured default, else the configured maximum, when absent.
    pub timeout: Option<Duration>,
    /// What it reads first and only, if that is known already.
    pub input: Option<Bytes>,
    /// Whether the caller will send standard input.
    pub stdin: bool,
    /// The terminal it gets, if any.
    pub tty: Option<TtySize>,
    /// The user it runs as, by name or number; the image's when absent.
    pub user: Option<String>,
    /// Whether the program is ended when the caller goes away.
    pub kill_on_disconnect: bool,
    /// Under the same key the same request starts one program in the background.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl NewExec {
    /// Runs `program` with nothing special, and ends it when its caller goes away.
    pub fn new(program: ExecProgram) -> Self {
        Self {
            program,
            env: Vec::new(),
            workdir: None,
            timeout: None,
            input: None,
            stdin: false,
            tty: None,
            user: None,
            kill_on_disconnect: true,
            idempotency_key: None,
        }
    }
}

/// Which sandboxes a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Those in this published state; all but the destroyed ones when absent.
    pub state: Option<String>,
    /// Those of this owner; all when absent.
    pub owner: Option<String>,
}
