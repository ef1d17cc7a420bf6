//! Rate limits, over all runs that share a server: so many requests and tokens in any minute, and
//! the pauses that the server itself asked for.

use super::retry::RequestDeadline;
use crate::provider::ProviderError;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// What was asked of a server within the last minute.
pub(super) struct RateLimiter {
    requests_max: Option<u64>,
    tokens_max: Option<u64>,
    past: Mutex<RequestWindow>,
}

#[derive(Default)]
struct RequestWindow {
    requests: VecDeque<Instant>,
    /// Tokens are known once a reply is there; so that a minute's limit can be passed by what is
    /// in flight.
    tokens: VecDeque<(Instant, u64)>,
    hold: Option<Instant>,
}

impl RateLimiter {
    pub fn new(requests_max: Option<u64>, tokens_max: Option<u64>) -> RateLimiter {
        RateLimiter { requests_max, tokens_max, past: Mutex::default() }
    }

    /// Waits until a request may begin, and counts it.
    pub fn turn(&self, patience: &RequestDeadline<'_>) -> Result<(), ProviderError> {
        loop {
            let wait = self.lock().admit(Instant::now(), self.requests_max, self.tokens_max);
            match wait {
                None => return Ok(()),
                Some(wait) => {
                    patience.rest(wait, "the limit of requests or tokens a minute is reached")?
                }
            }
        }
    }

    /// Counts the tokens of an exchange.
    pub fn spend(&self, tokens: u64) {
        if self.tokens_max.is_some() {
            self.lock().tokens.push_back((Instant::now(), tokens));
        }
    }

    /// Nobody asks before so long: one run's 429 is news for all.
    pub fn hold(&self, pause: Duration) {
        let Some(until) = Instant::now().checked_add(pause) else { return };
        let mut past = self.lock();
        past.hold = Some(past.hold.map_or(until, |held| held.max(until)));
    }

    fn lock(&self) -> MutexGuard<'_, RequestWindow> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestWindow {
    /// `None`: the request begins now. Else how long until it is worth asking again.
    fn admit(
        &mut self,
        now: Instant,
        requests_max: Option<u64>,
        tokens_max: Option<u64>,
    ) -> Option<Duration> {
        let gone = |at: &Instant| now.duration_since(*at) >= WINDOW;
        while self.requests.front().is_some_and(gone) {
            self.requests.pop_front();
        }
        while self.tokens.front().is_some_and(|(at, _)| gone(at)) {
            self.tokens.pop_front();
        }
        let held = self.hold.and_then(|until| until.checked_duration_since(now));
        let busy = requests_max.is_some_and(|most| self.requests.len() as u64 >= most);
        let spent = tokens_max
            .is_some_and(|most| self.tokens.iter().map(|(_, tokens)| tokens).sum::<u64>() >= most);
        let until_free = |oldest: Option<Instant>| {
            oldest.map(|at| WINDOW.saturating_sub(now.duration_since(at)))
        };
        let busy = until_free(self.requests.front().copied()).filter(|_| busy);
        let spent = until_free(self.tokens.front().map(|(at, _)| *at)).filter(|_| spent);
        let wait = held.max(busy).max(spent).filter(|wait| !wait.is_zero());
        if wait.is_none() && requests_max.is_some() {
            self.requests.push_back(now);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_holds_so_many_requests_and_tokens() {
        let (mut past, begun) = (RequestWindow::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(past.admit(at(0), Some(2), Some(100)), None);
        assert_eq!(past.admit(at(10), Some(2), Some(100)), None);
        assert_eq!(
            past.admit(at(20), Some(2), Some(100)),
            Some(Duration::from_secs(40)),
            "two a minute"
        );
        assert_eq!(past.admit(at(60), Some(2), Some(100)), None, "the first is a minute old");
        past.tokens.push_back((at(65), 120));
        assert_eq!(past.admit(at(80), Some(9), Some(100)), Some(Duration::from_secs(45)));
        past.hold = Some(at(200));
        assert_eq!(
            past.admit(at(130), Some(9), Some(100)),
            Some(Duration::from_secs(70)),
            "the server said so"
        );
        assert_eq!(past.admit(at(200), Some(9), Some(100)), None);
    }
}
