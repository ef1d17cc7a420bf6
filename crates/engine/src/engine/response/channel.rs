//! The channel from the engine's thread to the client of one request. The engine never waits for a
//! slow client: deltas that the client has not received yet are joined, so the channel's memory is
//! limited by the response's length.

use base::unpoisoned;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Completion, Delta, ResponseEvent};
use crate::engine::{FatalError, Notify, WaitError};

#[derive(Default)]
struct ChannelState {
    delta: Delta,
    completion: Option<Box<Completion>>,
    /// Whether the completion was sent. The client may have received it already.
    closed: bool,
    fatal_error: Option<FatalError>,
}

struct ResponseChannel {
    state: Mutex<ChannelState>,
    changed: Condvar,
    canceled: AtomicBool,
    notify: Option<Notify>,
}

impl ResponseChannel {
    fn lock(&self) -> MutexGuard<'_, ChannelState> {
        unpoisoned(self.state.lock())
    }

    fn update(&self, change: impl FnOnce(&mut ChannelState)) {
        change(&mut self.lock());
        self.changed.notify_all();
        if let Some(notify) = &self.notify {
            notify();
        }
    }
}

/// The engine's end of a response channel.
pub(in crate::engine) struct ResponseSender(Arc<ResponseChannel>);

/// Handle to a submitted request, which receives the response. Dropping it cancels the request.
pub struct ResponseHandle(Arc<ResponseChannel>);

/// Creates a channel and returns its two ends; `notify` is called after each change.
pub(in crate::engine) fn channel(notify: Option<Notify>) -> (ResponseSender, ResponseHandle) {
    let channel = Arc::new(ResponseChannel {
        state: Mutex::default(),
        changed: Condvar::new(),
        canceled: AtomicBool::new(false),
        notify,
    });
    (ResponseSender(Arc::clone(&channel)), ResponseHandle(channel))
}

impl ResponseSender {
    /// Whether the handle was dropped or canceled.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::Relaxed)
    }

    pub fn send(&self, delta: Delta) {
        self.0.update(|state| state.delta.append(delta));
    }

    pub fn complete(self, completion: Completion) {
        self.0.update(|state| {
            state.completion = Some(Box::new(completion));
            state.closed = true;
        });
    }

    pub fn fail(self, error: &FatalError) {
        self.0.update(|state| state.fatal_error = Some(error.clone()));
    }
}

impl Drop for ResponseSender {
    /// Reports a fatal error if the sender is dropped before the response ended: the engine's
    /// thread has then ended.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !state.closed && state.fatal_error.is_none() {
            state.fatal_error = Some(FatalError::bug("it ended before the request"));
            drop(state);
            self.0.update(|_| {});
        }
    }
}

impl ResponseHandle {
    /// Waits for the next event, for at most `limit`. Deltas that have arrived are joined into one.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], [`WaitError::Died`], or [`WaitError::Over`] after the last event.
    pub fn next(&self, limit: Duration) -> Result<ResponseEvent, WaitError> {
        let until = Instant::now() + limit;
        let mut state = self.0.lock();
        loop {
            if let Some(outcome) = state.take() {
                return outcome;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::Timeout { limit_s: limit.as_secs_f64() });
            }
            state = unpoisoned(self.0.changed.wait_timeout(state, left)).0;
        }
    }

    /// The next event if it has arrived.
    ///
    /// # Errors
    /// [`WaitError::Died`], or [`WaitError::Over`] after the last event.
    pub fn try_next(&self) -> Result<Option<ResponseEvent>, WaitError> {
        self.0.lock().take().transpose()
    }

    /// Waits for the complete response, for at most `limit`.
    ///
    /// # Errors
    /// As [`ResponseHandle::next`]. After a timeout, `wait` can be called again.
    pub fn wait(&self, limit: Duration) -> Result<Completion, WaitError> {
        let until = Instant::now() + limit;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Ok(ResponseEvent::Completion(completion)) => return Ok(completion),
                Ok(ResponseEvent::Delta(_)) => {}
                Err(WaitError::Timeout { .. }) => {
                    return Err(WaitError::Timeout { limit_s: limit.as_secs_f64() });
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Asks the engine to end the response. Its completion still arrives, with
    /// [`FinishReason::Canceled`](crate::FinishReason::Canceled).
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::Relaxed);
    }
}

impl ChannelState {
    /// Takes the next event or error, if there is one: the delta comes before the completion, and
    /// the completion is returned once.
    fn take(&mut self) -> Option<Result<ResponseEvent, WaitError>> {
        if !self.delta.is_empty() {
            return Some(Ok(ResponseEvent::Delta(std::mem::take(&mut self.delta))));
        }
        if let Some(completion) = self.completion.take() {
            return Some(Ok(ResponseEvent::Completion(*completion)));
        }
        if let Some(error) = &self.fatal_error {
            return Some(Err(WaitError::Died(error.clone())));
        }
        self.closed.then_some(Err(WaitError::Over))
    }
}

impl Drop for ResponseHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl std::fmt::Debug for ResponseHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock();
        let reason = state.completion.as_ref().map(|completion| completion.reason.name());
        write!(
            f,
            "ResponseHandle({})",
            reason.unwrap_or(if state.closed { "over" } else { "open" })
        )
    }
}
