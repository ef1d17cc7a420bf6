//! Replies as server-sent events.

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

/// How often a waiting client is told that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Turns a reply into the chunks of a protocol.
pub(crate) trait Chunks: Send + 'static {
    /// Before the first text.
    fn begin(&mut self) -> Vec<Value>;
    /// New text.
    fn text(&mut self, text: &str) -> Vec<Value>;
    /// What is left at the end.
    fn end(&mut self, finished: &Completion) -> Vec<Value>;
}

/// A response that goes on while the reply is made. Its first event is waited for, so that a reply
/// that fails at once still gets its status.
pub(crate) async fn respond(
    mut generation: Generation,
    chunks: impl Chunks,
) -> Result<Response, ApiError> {
    let first = match tokio::time::timeout(KEEP_ALIVE, generation.next()).await {
        Ok(event) => Some(event?),
        Err(_) => None,
    };
    let mut flow = Flow { generation, waiting: VecDeque::new(), over: false, chunks };
    let begin = flow.chunks.begin();
    flow.say(begin);
    if let Some(event) = first {
        flow.hear(event);
    }
    let body = futures_util::stream::unfold(flow, |mut flow| async {
        flow.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), flow))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Flow<C> {
    generation: Generation,
    waiting: VecDeque<Bytes>,
    over: bool,
    chunks: C,
}

impl<C: Chunks> Flow<C> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            match tokio::time::timeout(KEEP_ALIVE, self.generation.next()).await {
                Ok(Ok(event)) => self.hear(event),
                Ok(Err(refusal)) => self.fail(&refusal),
                Err(_) => self.waiting.push_back(Bytes::from_static(b": waiting\n\n")),
            }
        }
    }

    fn hear(&mut self, event: ResponseEvent) {
        match event {
            ResponseEvent::Delta(piece) if piece.text.is_empty() => {}
            ResponseEvent::Delta(piece) => {
                let chunks = self.chunks.text(&piece.text);
                self.say(chunks);
            }
            ResponseEvent::Completion(finished) => {
                let chunks = self.chunks.end(&finished);
                self.say(chunks);
                self.waiting.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.over = true;
            }
        }
    }

    fn say(&mut self, chunks: Vec<Value>) {
        self.waiting.extend(chunks.iter().map(|chunk| Bytes::from(format!("data: {chunk}\n\n"))));
    }

    /// The status is long gone: the error comes as an event, as OpenAI's clients expect, and no end
    /// follows.
    fn fail(&mut self, refusal: &ApiError) {
        self.say(vec![refusal.body()]);
        self.over = true;
    }
}
