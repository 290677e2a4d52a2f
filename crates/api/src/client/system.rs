//! The server itself through the client: health, providers, events.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::future;
use futures::stream::{Stream, StreamExt};
use reqwest::Method;
use serde_json::Value;

use crate::event::Event;
use crate::provider::{Provider, ProviderDetail};
use crate::system::{Health, Readiness};

use super::lines::lines;
use super::{ANSWER_TIMEOUT, Client, ClientError, decode};

/// Events as they happen. Ends when the server stops; go on with the last `seq` that was seen.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, ClientError>> + Send>>;

impl Client {
    /// Whether the server is there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get(self.url(&["health"], &[])).await
    }

    /// Whether the process lives.
    pub async fn live(&self) -> Result<Health, ClientError> {
        self.get(self.url(&["live"], &[])).await
    }

    /// Whether the server can take work. One that cannot answers in the same shape.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let request = self.request(Method::GET, self.url(&["ready"], &[]));
        let response = request.timeout(ANSWER_TIMEOUT).send().await;
        decode(response.map_err(|source| self.transport(source))?).await
    }

    /// Every provider, checked now.
    pub async fn providers(&self) -> Result<Vec<Provider>, ClientError> {
        self.get(self.url(&["providers"], &[])).await
    }

    /// One provider, checked now.
    pub async fn provider(&self, name: &str) -> Result<ProviderDetail, ClientError> {
        self.get(self.url(&["providers", name], &[])).await
    }

    /// Checks every provider and says which are healthy.
    pub async fn test_providers(&self) -> Result<BTreeMap<String, bool>, ClientError> {
        self.answer(self.request(Method::POST, self.url(&["providers", "test"], &[]))).await
    }

    /// The description of the API in `OpenAPI` 3.1.
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.get(self.url(&["openapi.json"], &[])).await
    }

    /// Events after the sequence number `after`, or from now on.
    pub async fn events(&self, after: Option<i64>) -> Result<EventStream, ClientError> {
        let after = after.map(|seq| seq.to_string());
        let query: Vec<_> = after.iter().map(|seq| ("after", seq.as_str())).collect();
        let request = self.request(Method::GET, self.url(&["events"], &query));
        let response = self.send(request).await?;
        let events = lines(response.bytes_stream()).filter_map(|line| {
            future::ready(match line {
                Ok(line) => line
                    .strip_prefix(b"data: ")
                    .map(|data| serde_json::from_slice(data).map_err(ClientError::Answer)),
                Err(error) => Some(Err(error)),
            })
        });
        Ok(Box::pin(events))
    }
}
