//! From the engine's thread to whoever waits. The engine never waits for a slow reader: what was
//! not taken yet is joined, and a reply's length bounds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Death, Event, FinishReason, Finished, Notify, Piece, WaitError};

#[derive(Default)]
struct State {
    piece: Piece,
    finished: Option<Box<Finished>>,
    /// The last event was put in.
    over: bool,
    died: Option<Death>,
}

struct Mailbox {
    state: Mutex<State>,
    arrived: Condvar,
    canceled: AtomicBool,
    notify: Option<Notify>,
}

impl Mailbox {
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
pub(super) struct Outbox(Arc<Mailbox>);

/// A request in the engine. Dropping it cancels the request.
pub struct Ticket(Arc<Mailbox>);

/// Both ends of a mailbox.
pub(super) fn mailbox(notify: Option<Notify>) -> (Outbox, Ticket) {
    let (state, arrived, canceled) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
    let mailbox = Arc::new(Mailbox { state, arrived, canceled, notify });
    (Outbox(Arc::clone(&mailbox)), Ticket(mailbox))
}

impl Outbox {
    /// Whether the ticket is gone.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::Relaxed)
    }

    /// Adds a part of the reply.
    pub fn piece(&self, piece: Piece) {
        self.0.put(|state| state.piece.append(piece));
    }

    /// Puts in the last event.
    pub fn finish(self, finished: Finished) {
        self.0.put(|state| {
            state.finished = Some(Box::new(finished));
            state.over = true;
        });
    }

    /// Says that the engine is gone.
    pub fn die(self, death: &Death) {
        self.0.put(|state| state.died = Some(death.clone()));
    }
}

impl Drop for Outbox {
    /// A request that nobody ended: its engine is gone.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !state.over && state.died.is_none() {
            state.died = Some(Death::defect("it ended before the request could".to_owned()));
            drop(state);
            self.0.put(|_| {});
        }
    }
}

impl Ticket {
    /// The next event, waited for at most `limit`. Pieces that came in the meantime are one.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], [`WaitError::Died`], or [`WaitError::Over`] after the last event.
    pub fn next(&self, limit: Duration) -> Result<Event, WaitError> {
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
    pub fn try_next(&self) -> Result<Option<Event>, WaitError> {
        self.0.lock().take().transpose()
    }

    /// The whole reply, waited for at most `limit`.
    ///
    /// # Errors
    /// As [`Ticket::next`]. After a timeout it can be waited for again.
    pub fn wait(&self, limit: Duration) -> Result<Finished, WaitError> {
        let until = Instant::now() + limit;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Finished(finished)) => return Ok(finished),
                Ok(Event::Piece(_)) => {}
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
    fn take(&mut self) -> Option<Result<Event, WaitError>> {
        if !self.piece.is_empty() {
            return Some(Ok(Event::Piece(std::mem::take(&mut self.piece))));
        }
        if let Some(finished) = self.finished.take() {
            return Some(Ok(Event::Finished(*finished)));
        }
        if let Some(death) = &self.died {
            return Some(Err(WaitError::Died(death.clone())));
        }
        self.over.then_some(Err(WaitError::Over))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock();
        let reason = state.finished.as_ref().map(|finished| finished.reason.name());
        write!(f, "Ticket({})", reason.unwrap_or(if state.over { "over" } else { "open" }))
    }
}

impl Finished {
    /// Whether it ended as it was meant to, and not by an error, a deadline or a cancellation.
    pub fn is_complete(&self) -> bool {
        use FinishReason::{Embedded, Eos, Grammar, Length, Stop};
        matches!(self.reason, Eos | Stop | Grammar | Length | Embedded)
    }
}
