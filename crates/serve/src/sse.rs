//! Streamed replies as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{Completion, ResponseEvent};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::generation::Generation;

/// After this long without an event, an SSE comment is sent, so that proxies keep the connection
/// open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Formats a streamed reply as the JSON chunks of an endpoint.
pub(crate) trait Chunks: Send + 'static {
    /// Chunks to send before the first text of the reply.
    fn begin(&mut self) -> Vec<Value>;
    /// Chunks for the next piece of the thinking before the answer.
    fn reasoning(&mut self, _text: &str) -> Vec<Value> {
        Vec::new()
    }
    /// Chunks for the next piece of the answer's text.
    fn text(&mut self, text: &str) -> Vec<Value>;
    /// Chunks to send after the last text of the reply.
    fn end(&mut self, completion: &Completion) -> Vec<Value>;
}

/// A streamed response. Before the response begins, this function waits for the first event, at
/// most [`KEEP_ALIVE`], so that a request that fails at once is answered with its HTTP status.
pub(crate) async fn respond(
    mut generation: Generation,
    chunks: impl Chunks,
) -> Result<Response, ApiError> {
    let first = match tokio::time::timeout(KEEP_ALIVE, generation.next()).await {
        Ok(event) => Some(event?),
        Err(_) => None,
    };
    let mut stream = EventStream { generation, queued: VecDeque::new(), ended: false, chunks };
    let begin = stream.chunks.begin();
    stream.queue(begin);
    if let Some(event) = first {
        stream.queue_event(event);
    }
    let body = futures_util::stream::unfold(stream, |mut stream| async {
        stream.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), stream))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct EventStream<C> {
    generation: Generation,
    queued: VecDeque<Bytes>,
    ended: bool,
    chunks: C,
}

impl<C: Chunks> EventStream<C> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queued.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            match tokio::time::timeout(KEEP_ALIVE, self.generation.next()).await {
                Ok(Ok(event)) => self.queue_event(event),
                Ok(Err(error)) => self.fail(&error),
                Err(_) => self.queued.push_back(Bytes::from_static(b": waiting\n\n")),
            }
        }
    }

    fn queue_event(&mut self, event: ResponseEvent) {
        match event {
            ResponseEvent::Delta(delta) => {
                if !delta.reasoning.is_empty() {
                    let chunks = self.chunks.reasoning(&delta.reasoning);
                    self.queue(chunks);
                }
                if !delta.text.is_empty() {
                    let chunks = self.chunks.text(&delta.text);
                    self.queue(chunks);
                }
            }
            ResponseEvent::Completion(completion) => {
                let chunks = self.chunks.end(&completion);
                self.queue(chunks);
                self.queued.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.ended = true;
            }
        }
    }

    fn queue(&mut self, chunks: Vec<Value>) {
        self.queued.extend(chunks.iter().map(|chunk| Bytes::from(format!("data: {chunk}\n\n"))));
    }

    /// Sends the error as an event, because the status line has already been sent. No `[DONE]`
    /// follows, as OpenAI's clients expect.
    fn fail(&mut self, error: &ApiError) {
        self.queue(vec![error.body()]);
        self.ended = true;
    }
}
