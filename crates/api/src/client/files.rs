//! Files through the client.

use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt, TryStream};
use reqwest::Method;

use crate::file::{ChmodRequest, FileInfo, MoveRequest};
use crate::sandbox::Status;

use super::{Client, ClientError, decode};

impl Client {
    /// Writes a file from a stream of bytes of any length. A stream that fails leaves the file as
    /// it was.
    pub async fn write_file<S>(
        &self,
        id: &str,
        (path, mode): (&str, Option<&str>),
        body: S,
    ) -> Result<Status, ClientError>
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
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(body));
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
