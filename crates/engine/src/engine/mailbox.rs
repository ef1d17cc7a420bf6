//! From the engine's thread to whoever waits. The engine never waits for a slow reader: what was
//! not taken yet is joined, and a reply's length bounds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Completion, Delta, FatalError, FinishReason, Notify, ResponseEvent, WaitError};

#[derive(Default)]
struct State {
    piece: Delta,
    finished: Option<Box<Completion>>,
    /// The last event was put in.
    over: bool,
    died: Option<FatalError>,
}

struct ResponseChannel {
    state: Mutex<State>,
    arrived: Condvar,
    canceled: AtomicBool,
    notify: Option<Notify>,
}

impl ResponseChannel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.arrived.notify_all();
        if let Some(notify) = &self.notify {
            notify();
        }
    }
}

/// The engine's end.
pub(super) struct ResponseSender(Arc<ResponseChannel>);

/// A request in the engine. Dropping it cancels the request.
pub struct ResponseHandle(Arc<ResponseChannel>);

/// Both ends of a mailbox.
pub(super) fn mailbox(notify: Option<Notify>) -> (ResponseSender, ResponseHandle) {
    let (state, arrived, canceled) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
    let mailbox = Arc::new(ResponseChannel { state, arrived, canceled, notify });
    (ResponseSender(Arc::clone(&mailbox)), ResponseHandle(mailbox))
}

impl ResponseSender {
    /// Whether the ticket is gone.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::Relaxed)
    }

    /// Adds a part of the reply.
    pub fn piece(&self, piece: Delta) {
        self.0.put(|state| state.piece.append(piece));
    }

    /// Puts in the last event.
    pub fn finish(self, finished: Completion) {
        self.0.put(|state| {
            state.finished = Some(Box::new(finished));
            state.over = true;
        });
    }

    /// Says that the engine is gone.
    pub fn die(self, death: &FatalError) {
        self.0.put(|state| state.died = Some(death.clone()));
    }
}

impl Drop for ResponseSender {
    /// A request that nobody ended: its engine is gone.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !state.over && state.died.is_none() {
            state.died = Some(FatalError::defect("it ended before the request could".to_owned()));
            drop(state);
            self.0.put(|_| {});
        }
    }
}

impl ResponseHandle {
    /// The next event, waited for at most `limit`. Pieces that came in the meantime are one.
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
            state =
                self.0.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is there already; `None` if nothing is.
    ///
    /// # Errors
    /// [`WaitError::Died`], or [`WaitError::Over`] after the last event.
    pub fn try_next(&self) -> Result<Option<ResponseEvent>, WaitError> {
        self.0.lock().take().transpose()
    }

    /// The whole reply, waited for at most `limit`.
    ///
    /// # Errors
    /// As [`ResponseHandle::next`]. After a timeout it can be waited for again.
    pub fn wait(&self, limit: Duration) -> Result<Completion, WaitError> {
        let until = Instant::now() + limit;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Ok(ResponseEvent::Completion(finished)) => return Ok(finished),
                Ok(ResponseEvent::Delta(_)) => {}
                Err(WaitError::Timeout { .. }) => {
                    return Err(WaitError::Timeout { limit_s: limit.as_secs_f64() });
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Asks the engine to end the reply; its last event still comes, with
    /// [`FinishReason::Canceled`].
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::Relaxed);
    }
}

impl State {
    /// The next event if there is one: text before the end, the end once.
    fn take(&mut self) -> Option<Result<ResponseEvent, WaitError>> {
        if !self.piece.is_empty() {
            return Some(Ok(ResponseEvent::Delta(std::mem::take(&mut self.piece))));
        }
        if let Some(finished) = self.finished.take() {
            return Some(Ok(ResponseEvent::Completion(*finished)));
        }
        if let Some(death) = &self.died {
            return Some(Err(WaitError::Died(death.clone())));
        }
        self.over.then_some(Err(WaitError::Over))
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
        let reason = state.finished.as_ref().map(|finished| finished.reason.name());
        write!(f, "ResponseHandle({})", reason.unwrap_or(if state.over { "over" } else { "open" }))
    }
}

impl Completion {
    /// Whether it ended as it was meant to, and not by an error, a deadline or a cancellation.
    pub fn is_complete(&self) -> bool {
        use FinishReason::{Embedded, Eos, Grammar, Length, Stop};
        matches!(self.reason, Eos | Stop | Grammar | Length | Embedded)
    }
}
