//! Which execs the agent remembers, and the limits on how many. Not what they do. The functions
//! of `exec` and a closing connection call it.

use std::sync::{Arc, Mutex};

use proto::{ExecInfo, ExecStart, GuestError, GuestErrorKind, Reply};

use super::Exec;
use crate::agent::Agent;
use crate::hold::hold;

/// Running execs at most, whatever the configuration allows: each has a thread and up to seven
/// descriptors.
const RUNNING_MAX: usize = 256;

/// Ended execs that are remembered: a control plane that was away for a moment finds the last
/// outcomes. With [`RUNNING_MAX`] their descriptions fit one answer.
const ENDED_MAX: usize = 128;

/// Bytes of output that ended execs keep together; the sandbox pays for this memory.
const ENDED_OUTPUT_MAX: usize = 16 * 1024 * 1024;

/// Bytes in an exec's id at most.
const ID_MAX: usize = 64;

/// The execs, oldest first.
#[derive(Debug)]
pub struct Registry {
    execs: Mutex<Vec<Arc<Exec>>>,
    running_max: usize,
}

pub fn error(kind: GuestErrorKind, message: &str) -> Reply {
    Reply::Error(GuestError { kind, message: message.to_owned() })
}

impl Registry {
    pub fn new(running_max: u32) -> Self {
        let running_max = usize::try_from(running_max).unwrap_or(RUNNING_MAX).min(RUNNING_MAX);
        Self { execs: Mutex::default(), running_max }
    }

    /// Makes a record for an exec that is about to start.
    pub fn reserve(&self, start: &ExecStart, link: u64) -> Result<Arc<Exec>, GuestError> {
        let refuse = |kind, message: String| Err(GuestError { kind, message });
        let id = &start.exec_id;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(allowed) {
            return refuse(GuestErrorKind::Invalid, "exec_id: not an id".to_owned());
        }
        let mut execs = hold(&self.execs);
        if execs.iter().any(|exec| exec.id == *id) {
            return refuse(GuestErrorKind::Exists, "exec_id: used already".to_owned());
        }
        let running = execs.iter().filter(|exec| exec.exit().is_none()).count();
        if running >= self.running_max {
            let message = format!("execs: {} are running, which is the limit", self.running_max);
            return refuse(GuestErrorKind::Limit, message);
        }
        let exec = Exec::new(start, link).map_err(|errno| GuestError {
            kind: GuestErrorKind::Limit,
            message: format!("exec: no descriptor is left for it: {errno}"),
        })?;
        let exec = Arc::new(exec);
        execs.push(Arc::clone(&exec));
        Ok(exec)
    }

    pub fn find(&self, id: &str) -> Option<Arc<Exec>> {
        hold(&self.execs).iter().find(|exec| exec.id == id).cloned()
    }

    /// Forgets an exec that has ended.
    pub fn release(&self, id: &str) -> Reply {
        let mut execs = hold(&self.execs);
        let Some(at) = execs.iter().position(|exec| exec.id == id) else {
            return Reply::Done;
        };
        if execs[at].exit().is_none() {
            return error(GuestErrorKind::Busy, "exec: it is still running");
        }
        execs.remove(at).discard_output();
        Reply::Done
    }

    /// Forgets the oldest ended execs over the limits.
    pub fn forget_oldest(&self) {
        let mut execs = hold(&self.execs);
        let ended: Vec<_> = execs.iter().filter(|exec| exec.exit().is_some()).cloned().collect();
        let mut bytes: usize = ended.iter().map(|exec| exec.footprint()).sum();
        let mut count = ended.len();
        for exec in ended {
            if count <= ENDED_MAX && bytes <= ENDED_OUTPUT_MAX {
                break;
            }
            bytes -= exec.footprint().min(bytes);
            count -= 1;
            exec.discard_output();
            execs.retain(|other| !Arc::ptr_eq(other, &exec));
        }
    }

    /// Every exec, oldest first.
    pub fn describe(&self) -> Vec<ExecInfo> {
        let execs = hold(&self.execs);
        execs.iter().map(|exec| exec.describe()).collect()
    }

    /// Cancels the execs that end with their connection.
    pub fn connection_lost(&self, agent: &Agent, link: u64) {
        let mut any = false;
        for exec in hold(&self.execs).iter().filter(|exec| exec.ends_with(link)) {
            exec.ask_cancel();
            any = true;
        }
        if any {
            agent.supervisor.nudge();
        }
    }
}
