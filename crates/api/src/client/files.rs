//! Files through the client.

use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt, TryStream};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};

use crate::file::{ChmodRequest, FileInfo, MkdirRequest, MoveRequest, Written};
use crate::paths::NEXT_CURSOR;
use crate::sandbox::Status;

use super::{ANSWER_TIMEOUT, Client, ClientError, decode};

/// What must hold of a file for it to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteIf<'a> {
    /// Nothing.
    Always,
    /// There is none.
    Absent,
    /// It has this validator.
    Matches(&'a str),
}

impl Client {
    /// Writes a file from a stream of bytes of any length. A stream that fails leaves the file as
    /// it was.
    pub async fn write_file<S>(
        &self,
        id: &str,
        target: (&str, Option<&str>),
        body: S,
    ) -> Result<Written, ClientError>
    where
        S: TryStream + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Bytes: From<S::Ok>,
    {
        self.write_file_if(id, target, WriteIf::Always, body).await
    }

    /// Writes a file as [`write_file`](Self::write_file) does, if a condition holds of the old
    /// one.
    pub async fn write_file_if<S>(
        &self,
        id: &str,
        (path, mode): (&str, Option<&str>),
        condition: WriteIf<'_>,
        body: S,
    ) -> Result<Written, ClientError>
    where
        S: TryStream + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Bytes: From<S::Ok>,
    {
        let query: &[_] = match mode {
            Some(mode) => &[("path", path), ("mode", mode)],
            None => &[("path", path)],
        };
        let request = self
            .request(Method::POST, self.url(&["sandboxes", id, "files"], query))
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(body));
        let request = match condition {
            WriteIf::Always => request,
            WriteIf::Absent => request.header(IF_NONE_MATCH, "*"),
            WriteIf::Matches(etag) => request.header(IF_MATCH, etag),
        };
        decode(self.send(request).await?).await
    }

    /// A file's bytes as they come.
    pub async fn read_file(
        &self,
        id: &str,
        path: &str,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>, ClientError> {
        let url = self.url(&["sandboxes", id, "files"], &[("path", path)]);
        let response = self.send(self.request(Method::GET, url)).await?;
        let bytes = response.bytes_stream();
        Ok(Box::pin(
            bytes.map(|part| part.map_err(|source| ClientError::Transport(source.without_url()))),
        ))
    }

    /// Removes a file, or a directory with all that is in it if `recursive`.
    pub async fn delete_file(
        &self,
        id: &str,
        path: &str,
        recursive: bool,
    ) -> Result<Status, ClientError> {
        let recursive = if recursive { "true" } else { "false" };
        let query = [("path", path), ("recursive", recursive)];
        self.delete(self.url(&["sandboxes", id, "files"], &query)).await
    }

    /// Describes what a directory holds, sorted by name.
    pub async fn list_files(&self, id: &str, path: &str) -> Result<Vec<FileInfo>, ClientError> {
        self.get(self.url(&["sandboxes", id, "files", "list"], &[("path", path)])).await
    }

    /// Describes a part of what a directory holds: at most `limit` entries, behind the cursor that
    /// came with the part before. No cursor comes with the last part.
    pub async fn list_files_page(
        &self,
        id: &str,
        path: &str,
        (limit, cursor): (u32, Option<&str>),
    ) -> Result<(Vec<FileInfo>, Option<String>), ClientError> {
        let limit = limit.to_string();
        let mut query = vec![("path", path), ("limit", limit.as_str())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let url = self.url(&["sandboxes", id, "files", "list"], &query);
        let response = self.send(self.request(Method::GET, url).timeout(ANSWER_TIMEOUT)).await?;
        let next = response.headers().get(NEXT_CURSOR).and_then(|value| value.to_str().ok());
        let next = next.map(str::to_owned);
        Ok((decode(response).await?, next))
    }

    /// Makes a directory.
    pub async fn make_directory(
        &self,
        id: &str,
        request: &MkdirRequest,
    ) -> Result<Status, ClientError> {
        self.post(self.url(&["sandboxes", id, "files", "mkdir"], &[]), request).await
    }

    /// Describes one file.
    pub async fn stat_file(&self, id: &str, path: &str) -> Result<FileInfo, ClientError> {
        self.get(self.url(&["sandboxes", id, "files", "stat"], &[("path", path)])).await
    }

    /// Finds files by pattern.
    pub async fn glob_files(&self, id: &str, pattern: &str) -> Result<Vec<String>, ClientError> {
        self.get(self.url(&["sandboxes", id, "files", "glob"], &[("pattern", pattern)])).await
    }

    /// Renames a file.
    pub async fn move_file(
        &self,
        id: &str,
        old_path: &str,
        new_path: &str,
    ) -> Result<Status, ClientError> {
        let request = MoveRequest {
            old_path: Some(old_path.to_owned()),
            new_path: Some(new_path.to_owned()),
        };
        self.post(self.url(&["sandboxes", id, "files", "move"], &[]), &request).await
    }

    /// Sets a file's permission bits, in octal: `0755`.
    pub async fn chmod_file(
        &self,
        id: &str,
        path: &str,
        mode: &str,
    ) -> Result<Status, ClientError> {
        let request = ChmodRequest { path: Some(path.to_owned()), mode: Some(mode.to_owned()) };
        self.post(self.url(&["sandboxes", id, "files", "chmod"], &[]), &request).await
    }
}
