//! A request submitted to the engine, whose events asynchronous code can await.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use engine::grammar::Constraint;
use engine::sampling::SamplingParams;
use engine::{
    Completion, EmbedRequest, FinishReason, Notify, Request, ResponseEvent, ResponseHandle,
    SubmitError, Thinking,
};
use futures_util::future::{Either, select};
use tokio::sync::{Notify as WakeUp, watch};
use tokio::time::{Instant as TokioInstant, timeout_at};

use crate::api_error::ApiError;
use crate::state::{AppState, Permit, ServerPhase};

/// After a reply's deadline, the engine has this long to report that the deadline has passed; then
/// the server answers with a timeout itself.
const ENGINE_GRACE: Duration = Duration::from_secs(30);

pub(crate) struct GenerateParams {
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    pub thinking: Option<Thinking>,
    pub constraint: Option<Constraint>,
    pub reply_tokens_max: usize,
    pub stop_strings: Vec<String>,
}

/// A submitted request. Dropping a `Generation` cancels the request; axum drops it when the client
/// disconnects.
pub(crate) struct Generation {
    response: ResponseHandle,
    /// Notified by the engine's thread when `response` has an event.
    wake_up: Arc<WakeUp>,
    phase: watch::Receiver<ServerPhase>,
    give_up_at: TokioInstant,
    timeout_s: f64,
    _permit: Arc<Permit>,
}

impl Generation {
    /// Submits a generation. The grammar is compiled in this call, which can be slow: call it on a
    /// blocking thread.
    pub fn start(
        app: &AppState,
        permit: impl Into<Arc<Permit>>,
        params: GenerateParams,
    ) -> Result<Generation, ApiError> {
        Self::submit(app, permit, |deadline, notify| {
            app.model.engine.submit(Request {
                sampling: params.sampling,
                thinking: params.thinking,
                constraint: params.constraint,
                stop_strings: params.stop_strings,
                deadline,
                notify: Some(notify),
                ..Request::new(params.prompt, params.reply_tokens_max)
            })
        })
    }

    /// Submits the token ids of a text to be embedded.
    pub fn start_embedding(
        app: &AppState,
        permit: impl Into<Arc<Permit>>,
        tokens: Vec<u32>,
    ) -> Result<Generation, ApiError> {
        Self::submit(app, permit, |deadline, notify| {
            app.model.engine.submit_embedding(EmbedRequest {
                tokens,
                deadline,
                notify: Some(notify),
            })
        })
    }

    fn submit(
        app: &AppState,
        permit: impl Into<Arc<Permit>>,
        submit: impl FnOnce(Option<Instant>, Notify) -> Result<ResponseHandle, SubmitError>,
    ) -> Result<Generation, ApiError> {
        let wake_up = Arc::new(WakeUp::new());
        let notify = Arc::clone(&wake_up);
        let deadline = Instant::now() + app.options.reply_timeout;
        let response = submit(Some(deadline), Arc::new(move || notify.notify_one()))?;
        Ok(Generation {
            response,
            wake_up,
            phase: app.phase.subscribe(),
            give_up_at: TokioInstant::from_std(deadline + ENGINE_GRACE),
            timeout_s: app.options.reply_timeout.as_secs_f64(),
            _permit: permit.into(),
        })
    }

    /// Waits for the next event. Failed requests, passed deadlines and cancellations are returned
    /// as errors.
    pub async fn next(&mut self) -> Result<ResponseEvent, ApiError> {
        loop {
            if let Some(event) = self.response.try_next()? {
                return self.failure_as_error(event);
            }
            let stopped = async {
                // The wait cannot fail: the sender of the phase lives as long as the server.
                let _closed = self.phase.wait_for(|phase| *phase == ServerPhase::Stopped).await;
            };
            let notified = std::pin::pin!(self.wake_up.notified());
            let stopped = std::pin::pin!(stopped);
            match timeout_at(self.give_up_at, select(notified, stopped)).await {
                Ok(Either::Left(_)) => {}
                Ok(Either::Right(_)) => return Err(ApiError::shutting_down()),
                Err(_) => return Err(ApiError::timeout(self.timeout_s)),
            }
        }
    }

    /// Waits for the end of the reply, and returns the whole reply.
    pub async fn finish(mut self) -> Result<Completion, ApiError> {
        loop {
            if let ResponseEvent::Completion(completion) = self.next().await? {
                return Ok(completion);
            }
        }
    }

    fn failure_as_error(&self, event: ResponseEvent) -> Result<ResponseEvent, ApiError> {
        let ResponseEvent::Completion(completion) = &event else { return Ok(event) };
        match &completion.reason {
            FinishReason::Error(cause) => Err(cause.clone().into()),
            FinishReason::Deadline => Err(ApiError::timeout(self.timeout_s)),
            FinishReason::Canceled => Err(ApiError::shutting_down()),
            _ => Ok(event),
        }
    }
}

/// Runs slow synchronous work (rendering a template, tokenizing, compiling a grammar) on a blocking
/// thread, so that the server's thread stays responsive.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let panicked = |e: tokio::task::JoinError| {
        let text = format!("internal error, please report it: {e}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    };
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}
