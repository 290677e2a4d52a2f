//! Files through the client.

use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt, TryStream};
use reqwest::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, Response};

use crate::file::{
    ArchiveFormat, ChmodRequest, CopyRequest, FileEvent, FileInfo, GrepLine, MkdirRequest,
    MoveRequest, Unpacked, Written,
};
use crate::paths::{NEXT_CURSOR, TRUNCATED};
use crate::sandbox::Status;

use super::lines::lines;
use super::{ANSWER_TIMEOUT, Client, ClientError, decode};

/// Bytes as they come.
pub type FileStream = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

/// What happens to files, as it happens.
pub type FileEventStream = Pin<Box<dyn Stream<Item = Result<FileEvent, ClientError>> + Send>>;

fn file_stream(response: Response) -> FileStream {
    let failed = |source: reqwest::Error| ClientError::Transport(source.without_url());
    Box::pin(response.bytes_stream().map(move |part| part.map_err(failed)))
}

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
    pub async fn read_file(&self, id: &str, path: &str) -> Result<FileStream, ClientError> {
        let url = self.url(&["sandboxes", id, "files"], &[("path", path)]);
        Ok(file_stream(self.send(self.request(Method::GET, url)).await?))
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

    /// Copies a file, or a directory with all that is in it if `recursive`.
    pub async fn copy_file(
        &self,
        id: &str,
        (from, to): (&str, &str),
        recursive: bool,
    ) -> Result<Status, ClientError> {
        let request = CopyRequest {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            recursive: Some(recursive),
        };
        let url = self.url(&["sandboxes", id, "files", "copy"], &[]);
        decode(self.send(self.request(Method::POST, url).json(&request)).await?).await
    }

    /// What is beneath a directory, or a single file, as an archive. A stream that fails is no
    /// whole archive.
    pub async fn read_archive(
        &self,
        id: &str,
        path: &str,
        format: ArchiveFormat,
    ) -> Result<FileStream, ClientError> {
        let query = [("path", path), ("format", format.word())];
        let url = self.url(&["sandboxes", id, "files", "archive"], &query);
        Ok(file_stream(self.send(self.request(Method::GET, url)).await?))
    }

    /// Makes files beneath a directory from an archive. What was unpacked before a failure stays.
    pub async fn write_archive<S>(
        &self,
        id: &str,
        (path, format): (&str, ArchiveFormat),
        body: S,
    ) -> Result<Unpacked, ClientError>
    where
        S: TryStream + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Bytes: From<S::Ok>,
    {
        let query = [("path", path), ("format", format.word())];
        let request = self
            .request(Method::POST, self.url(&["sandboxes", id, "files", "archive"], &query))
            .header(CONTENT_TYPE, format.media_type())
            .body(reqwest::Body::wrap_stream(body));
        decode(self.send(request).await?).await
    }

    /// Lines that match a regular expression in the files beneath a directory, or in one file, and
    /// whether there are more.
    pub async fn grep_files(
        &self,
        id: &str,
        path: &str,
        pattern: &str,
    ) -> Result<(Vec<GrepLine>, bool), ClientError> {
        let query = [("path", path), ("pattern", pattern)];
        let url = self.url(&["sandboxes", id, "files", "grep"], &query);
        let response = self.send(self.request(Method::GET, url).timeout(ANSWER_TIMEOUT)).await?;
        let truncated = response.headers().contains_key(TRUNCATED);
        Ok((decode(response).await?, truncated))
    }

    /// What happens to a file, or in a directory, from now on.
    pub async fn watch_files(
        &self,
        id: &str,
        path: &str,
        recursive: bool,
    ) -> Result<FileEventStream, ClientError> {
        let recursive = if recursive { "true" } else { "false" };
        let query = [("path", path), ("recursive", recursive)];
        let url = self.url(&["sandboxes", id, "files", "watch"], &query);
        let response = self.send(self.request(Method::GET, url)).await?;
        let events = lines(response.bytes_stream()).filter_map(|line| {
            std::future::ready(match line {
                Ok(line) => line
                    .strip_prefix(b"data: ")
                    .map(|data| serde_json::from_slice(data).map_err(ClientError::Answer)),
                Err(error) => Some(Err(error)),
            })
        });
        Ok(Box::pin(events))
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
