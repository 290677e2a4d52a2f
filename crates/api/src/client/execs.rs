//! Programs that may outlive the call that started them.

use reqwest::Method;

use crate::exec::{ExecRequest, TtySize};
use crate::execs::{Exec, Signal, SignalRequest, StdinTaken};
use crate::paths::IDEMPOTENCY_KEY;
use crate::sandbox::Status;

use super::exec::{ExecStream, output};
use super::{Client, ClientError};

impl Client {
    /// Starts a program in the background. Under the same `key` it is started once, however often
    /// this is called.
    pub async fn exec_background(
        &self,
        id: &str,
        request: &ExecRequest,
        key: Option<&str>,
    ) -> Result<Exec, ClientError> {
        let request = ExecRequest { background: Some(true), stream: None, ..request.clone() };
        let url = self.url(&["sandboxes", id, "exec"], &[]);
        let mut post = self.request(Method::POST, url).json(&request);
        if let Some(key) = key {
            post = post.header(IDEMPOTENCY_KEY, key);
        }
        self.answer(post).await
    }

    /// The programs of a sandbox that may outlive their calls, the newest first.
    pub async fn execs(&self, id: &str) -> Result<Vec<Exec>, ClientError> {
        self.get(self.url(&["sandboxes", id, "execs"], &[])).await
    }

    /// One of them.
    pub async fn exec_record(&self, id: &str, exec: &str) -> Result<Exec, ClientError> {
        self.get(self.url(&["sandboxes", id, "execs", exec], &[])).await
    }

    /// Ends one of them, with all that it started.
    pub async fn exec_kill(&self, id: &str, exec: &str) -> Result<Exec, ClientError> {
        self.delete(self.url(&["sandboxes", id, "execs", exec], &[])).await
    }

    /// What a program wrote, from the given bytes of standard output and standard error on, and
    /// what it writes, to its end.
    pub async fn exec_output(
        &self,
        (id, exec): (&str, &str),
        (stdout, stderr): (u64, u64),
    ) -> Result<ExecStream, ClientError> {
        let (stdout, stderr) = (stdout.to_string(), stderr.to_string());
        let query =
            [("offset", stdout.as_str()), ("stderr_offset", &stderr), ("encoding", "base64")];
        let url = self.url(&["sandboxes", id, "execs", exec, "output"], &query);
        Ok(output(self.send(self.request(Method::GET, url)).await?))
    }

    /// Writes to a program's standard input, and closes it behind that if asked to. Waits for the
    /// program to take the bytes, however long that takes.
    pub async fn exec_stdin(
        &self,
        (id, exec): (&str, &str),
        (bytes, close): (bytes::Bytes, bool),
    ) -> Result<StdinTaken, ClientError> {
        let close = if close { "true" } else { "false" };
        let url = self.url(&["sandboxes", id, "execs", exec, "stdin"], &[("close", close)]);
        super::decode(self.send(self.request(Method::POST, url).body(bytes)).await?).await
    }

    /// Sends a signal to a program.
    pub async fn exec_signal(
        &self,
        (id, exec): (&str, &str),
        signal: Signal,
    ) -> Result<(), ClientError> {
        let url = self.url(&["sandboxes", id, "execs", exec, "signal"], &[]);
        let body = SignalRequest { signal: Some(signal) };
        self.post::<Status>(url, &body).await.map(drop)
    }

    /// Sets the size of a program's terminal.
    pub async fn exec_resize(
        &self,
        (id, exec): (&str, &str),
        size: TtySize,
    ) -> Result<(), ClientError> {
        let url = self.url(&["sandboxes", id, "execs", exec, "resize"], &[]);
        self.post::<Status>(url, &size).await.map(drop)
    }
}
