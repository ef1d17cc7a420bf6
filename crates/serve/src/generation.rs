//! A reply while it is made, for asynchronous code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::grammar::Constraint;
use engine::sampling::SamplingParams;
use engine::{
    Completion, EmbedRequest, FinishReason, Notify, Request, ResponseEvent, ResponseHandle,
    SubmitError,
};
use tokio::sync::{Notify as Bell, watch};
use tokio::time::{Instant as Moment, timeout_at};

use crate::api_error::ApiError;
use crate::app::{App, Permit, ServerPhase};

/// How long after a reply's deadline the engine may take to say so.
const ENGINE_GRACE: Duration = Duration::from_secs(30);

/// What is asked of the engine.
pub(crate) struct GenerateParams {
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    pub constraint: Option<Constraint>,
    pub reply_tokens_max: usize,
    pub stop_strings: Vec<String>,
}

/// A request in the engine. Dropping it, as happens when its client is gone, cancels it.
pub(crate) struct Generation {
    ticket: ResponseHandle,
    bell: Arc<Bell>,
    ending: watch::Receiver<ServerPhase>,
    until: Moment,
    limit_s: f64,
    _place: Arc<Permit>,
}

impl Generation {
    /// Hands a request in. Compiles its constraint: not for a thread that serves others.
    pub fn start(
        app: &App,
        place: impl Into<Arc<Permit>>,
        asked: GenerateParams,
    ) -> Result<Generation, ApiError> {
        Self::submit(app, place, |deadline, notify| {
            app.served.engine.submit(Request {
                sampling: asked.sampling,
                constraint: asked.constraint,
                stop_strings: asked.stop_strings,
                deadline,
                notify: Some(notify),
                ..Request::new(asked.prompt, asked.reply_tokens_max)
            })
        })
    }

    /// Asks for an embedding.
    pub fn start_embedding(
        app: &App,
        place: impl Into<Arc<Permit>>,
        tokens: Vec<u32>,
    ) -> Result<Generation, ApiError> {
        Self::submit(app, place, |deadline, notify| {
            app.served.engine.submit_embedding(EmbedRequest {
                tokens,
                deadline,
                notify: Some(notify),
            })
        })
    }

    fn submit(
        app: &App,
        place: impl Into<Arc<Permit>>,
        submit: impl FnOnce(Option<Instant>, Notify) -> Result<ResponseHandle, SubmitError>,
    ) -> Result<Generation, ApiError> {
        let bell = Arc::new(Bell::new());
        let ring = Arc::clone(&bell);
        let deadline = Instant::now() + app.options.reply_timeout;
        let ticket = submit(Some(deadline), Arc::new(move || ring.notify_one()))?;
        Ok(Generation {
            ticket,
            bell,
            ending: app.ending.subscribe(),
            until: Moment::from_std(deadline + ENGINE_GRACE),
            limit_s: app.options.reply_timeout.as_secs_f64(),
            _place: place.into(),
        })
    }

    /// The next event; errors, deadlines and cancellations are refusals.
    pub async fn next(&mut self) -> Result<ResponseEvent, ApiError> {
        loop {
            if let Some(event) = self.ticket.try_next()? {
                return self.judged(event);
            }
            let stopped = async {
                // The sender lives as long as the server.
                let _closed = self.ending.wait_for(|ending| *ending == ServerPhase::Stopped).await;
            };
            let news = std::pin::pin!(self.bell.notified());
            let stopped = std::pin::pin!(stopped);
            match timeout_at(self.until, futures_util::future::select(news, stopped)).await {
                Ok(futures_util::future::Either::Left(_)) => {}
                Ok(futures_util::future::Either::Right(_)) => return Err(ApiError::ending()),
                Err(_) => return Err(ApiError::late(self.limit_s)),
            }
        }
    }

    /// The whole reply.
    pub async fn finish(mut self) -> Result<Completion, ApiError> {
        loop {
            if let ResponseEvent::Completion(finished) = self.next().await? {
                return Ok(finished);
            }
        }
    }

    fn judged(&self, event: ResponseEvent) -> Result<ResponseEvent, ApiError> {
        let ResponseEvent::Completion(finished) = &event else { return Ok(event) };
        match &finished.reason {
            FinishReason::Error(cause) => Err(cause.clone().into()),
            FinishReason::Deadline => Err(ApiError::late(self.limit_s)),
            FinishReason::Canceled => Err(ApiError::ending()),
            _ => Ok(event),
        }
    }
}

/// Runs what takes a while (a template, a tokenizer, a schema's compilation) beside the threads
/// that serve.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let defect = |e: tokio::task::JoinError| {
        ApiError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            format!("a defect of ours: {e}"),
        )
    };
    tokio::task::spawn_blocking(work).await.map_err(defect)?
}
