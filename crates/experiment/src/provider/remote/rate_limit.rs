//! Rate limits over all runs that share a server: requests and tokens within any minute, and pauses
//! that the server requests with `Retry-After`.

use super::retry::RequestDeadline;
use crate::provider::ProviderError;
use base::unpoisoned;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// A sliding-window rate limiter.
pub(super) struct RateLimiter {
    limits: RateLimits,
    window: Mutex<RequestWindow>,
}

/// Maximum number of requests and tokens in a window.
#[derive(Clone, Copy)]
struct RateLimits {
    requests: Option<u64>,
    tokens: Option<u64>,
}

/// Requests and tokens of the last minute.
#[derive(Default)]
struct RequestWindow {
    requests: VecDeque<Instant>,
    /// Tokens are counted when a reply arrives, so requests in flight can exceed the limit.
    tokens: VecDeque<(Instant, u64)>,
    hold_until: Option<Instant>,
}

impl RateLimiter {
    pub fn new(requests_per_minute: Option<u64>, tokens_per_minute: Option<u64>) -> RateLimiter {
        let limits = RateLimits { requests: requests_per_minute, tokens: tokens_per_minute };
        RateLimiter { limits, window: Mutex::default() }
    }

    /// Waits until a request may start, and counts the request.
    ///
    /// # Errors
    /// The deadline would pass first, or the command was canceled.
    pub fn wait(&self, deadline: &RequestDeadline<'_>) -> Result<(), ProviderError> {
        loop {
            let wait = self.lock().admit(Instant::now(), self.limits);
            match wait {
                None => return Ok(()),
                Some(wait) => {
                    deadline.sleep(wait, "the limit of requests or tokens a minute is reached")?
                }
            }
        }
    }

    /// Counts the tokens of a completed exchange.
    pub fn count_tokens(&self, tokens: u64) {
        if self.limits.tokens.is_some() {
            self.lock().tokens.push_back((Instant::now(), tokens));
        }
    }

    /// Delays further requests of all runs by `pause`, since an HTTP 429 response to one run
    /// applies to all of them.
    pub fn hold(&self, pause: Duration) {
        let Some(until) = Instant::now().checked_add(pause) else { return };
        let mut window = self.lock();
        window.hold_until = Some(window.hold_until.map_or(until, |held| held.max(until)));
    }

    fn lock(&self) -> MutexGuard<'_, RequestWindow> {
        unpoisoned(self.window.lock())
    }
}

impl RequestWindow {
    /// Returns `None`, and counts the request, if a request may start at `now`. Returns the time
    /// until the next attempt otherwise.
    fn admit(&mut self, now: Instant, limits: RateLimits) -> Option<Duration> {
        let expired = |at: &Instant| now.duration_since(*at) >= WINDOW;
        while self.requests.front().is_some_and(expired) {
            self.requests.pop_front();
        }
        while self.tokens.front().is_some_and(|(at, _)| expired(at)) {
            self.tokens.pop_front();
        }
        let held = self.hold_until.and_then(|until| until.checked_duration_since(now));
        let requests_used_up = limits.requests.is_some_and(|max| self.requests.len() as u64 >= max);
        let tokens = self.tokens.iter().map(|(_, tokens)| tokens).sum::<u64>();
        let tokens_used_up = limits.tokens.is_some_and(|max| tokens >= max);
        let until_expired = |oldest: Option<Instant>| {
            oldest.map(|at| WINDOW.saturating_sub(now.duration_since(at)))
        };
        let for_requests =
            until_expired(self.requests.front().copied()).filter(|_| requests_used_up);
        let for_tokens =
            until_expired(self.tokens.front().map(|(at, _)| *at)).filter(|_| tokens_used_up);
        let wait = held.max(for_requests).max(for_tokens).filter(|wait| !wait.is_zero());
        if wait.is_none() && limits.requests.is_some() {
            self.requests.push_back(now);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_the_window_of_requests_of_tokens_and_for_a_hold() {
        let (mut window, begun) = (RequestWindow::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let two = RateLimits { requests: Some(2), tokens: Some(100) };
        let nine = RateLimits { requests: Some(9), tokens: Some(100) };
        assert_eq!(window.admit(at(0), two), None);
        assert_eq!(window.admit(at(10), two), None);
        assert_eq!(window.admit(at(20), two), seconds(40), "two a minute");
        assert_eq!(window.admit(at(60), two), None, "the first is a minute old");
        window.tokens.push_back((at(65), 120));
        assert_eq!(window.admit(at(80), nine), seconds(45), "the tokens are used up");
        window.hold_until = Some(at(200));
        assert_eq!(window.admit(at(130), nine), seconds(70), "the server asked for a pause");
        assert_eq!(window.admit(at(200), nine), None);
    }
}
