//! What to do about a failure: try again, when, or not at all.

use super::http::HttpResponse;
use crate::provider::ProviderError;
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};
use warehouse::RandomStream;

/// The pause after the first failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a pause looks whether it was canceled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of a server's words.
const WORDS_MAX: usize = 300;

/// A failed attempt.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// It may go better later; the server may have said when.
    Again { why: String, after: Option<Duration> },
    /// It will not.
    Never(ProviderError),
}

impl AttemptError {
    pub fn again(why: String) -> AttemptError {
        AttemptError::Again { why, after: None }
    }
}

/// How long one reply may still take, and who may stop it.
pub(super) struct RequestDeadline<'a> {
    until: Instant,
    deadline_s: f64,
    jitter: RandomStream,
    canceled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> RequestDeadline<'a> {
    /// `session` and `seed` part the pauses of runs that failed at the same instant.
    pub fn new(
        deadline_s: f64,
        session: &str,
        seed: u64,
        canceled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let until = Instant::now() + Duration::from_secs_f64(deadline_s);
        RequestDeadline { until, deadline_s, jitter: RandomStream::new(seed, session), canceled }
    }

    pub fn canceled(&self) -> bool {
        (self.canceled)()
    }

    /// Time that is left.
    pub fn left(&self) -> Result<Duration, ProviderError> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.late("an answer of the server")),
        }
    }

    /// Waits, unless that is longer than what is left.
    pub fn rest(&self, pause: Duration, why: &str) -> Result<(), ProviderError> {
        if Instant::now() + pause > self.until {
            return Err(self.late(&format!("{} more seconds, since {why}", pause.as_secs_f64())));
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.canceled() {
                return Err(ProviderError::Canceled);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        Ok(())
    }

    fn late(&self, what: &str) -> ProviderError {
        ProviderError::Late { seconds: self.deadline_s.to_string(), what: what.to_string() }
    }
}

/// The pause after so many failures: exponential, half of it drawn, and never before the server
/// wants to be asked again.
pub(super) fn pause(
    tries: u64,
    after: Option<Duration>,
    patience: &RequestDeadline<'_>,
) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let longest = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let drawn = longest.mul_f64(0.5 + 0.5 * patience.jitter.unit(&[tries]));
    after.map_or(drawn, |after| after + drawn.min(Duration::from_secs(1)))
}

/// Whether an answer is one, by its status.
pub(super) fn judge(answer: &HttpResponse) -> Result<(), AttemptError> {
    let why = || format!("HTTP {}: {}", answer.status, words(&answer.body));
    match answer.status {
        200..=299 => Ok(()),
        408 | 409 | 425 | 429 | 500..=599 => Err(AttemptError::Again {
            why: why(),
            after: answer.retry_after.as_deref().and_then(retry_after),
        }),
        401 | 403 => Err(AttemptError::Never(ProviderError::Unavailable(format!(
            "the server refuses the key: {}",
            why()
        )))),
        404 => Err(AttemptError::Never(ProviderError::Unavailable(format!(
            "no such model or path: {}",
            why()
        )))),
        300..=399 => Err(AttemptError::Never(ProviderError::Unavailable(format!(
            "the server sends us elsewhere: {}",
            why()
        )))),
        _ => Err(AttemptError::Never(ProviderError::Refused(format!(
            "the server refuses the request: {}",
            why()
        )))),
    }
}

/// Seconds or a date, as RFC 9110 has it. What is neither says nothing.
fn retry_after(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let when = httpdate::parse_http_date(text.trim()).ok()?;
            Some(when.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// A server's own words on a failure: its `error.message`, or the beginning of what it sent.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let said = serde_json::from_str::<Value>(&text).ok().and_then(|value| {
        let error = value.get("error").unwrap_or(&value);
        let message = error.get("message").or_else(|| value.get("detail")).unwrap_or(error);
        message.as_str().map(str::to_string)
    });
    let said = said.unwrap_or_else(|| text.trim().to_string());
    match said.char_indices().nth(WORDS_MAX) {
        Some((at, _)) => format!("{}...", &said[..at]),
        None if said.is_empty() => "no words".to_string(),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            retry_after: retry_after.map(str::to_string),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn statuses_part_what_may_go_better_from_what_will_not() {
        for status in [408, 425, 429, 500, 502, 503, 529] {
            assert!(
                matches!(
                    judge(&answer(status, None, "")),
                    Err(AttemptError::Again { after: None, .. })
                ),
                "{status}"
            );
        }
        for status in [301, 400, 401, 403, 404, 422] {
            assert!(
                matches!(judge(&answer(status, None, "")), Err(AttemptError::Never(_))),
                "{status}"
            );
        }
        assert!(judge(&answer(200, None, "")).is_ok());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(
            (retry_after("-1"), retry_after("soon"), retry_after("inf")),
            (None, None, None)
        );
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let wait = retry_after(&date).unwrap().as_secs();
        assert!((58..=60).contains(&wait), "{wait}");
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "long past");
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ_between_runs() {
        let never = || false;
        let (one, two) = (
            RequestDeadline::new(1.0, "one", 7, &never),
            RequestDeadline::new(1.0, "two", 7, &never),
        );
        let mut last = Duration::ZERO;
        for tries in 1..=20 {
            let wait = pause(tries, None, &one);
            assert!(
                wait <= PAUSE_MAX && (tries > 6 || wait > last.mul_f64(0.9)),
                "{tries}: {wait:?} after {last:?}"
            );
            assert_ne!(wait, pause(tries, None, &two));
            last = wait;
        }
        assert!(pause(1, Some(Duration::from_secs(9)), &one) >= Duration::from_secs(9));
    }

    #[test]
    fn words_are_the_servers_own_and_short() {
        assert_eq!(words(br#"{"error": {"message": "too many", "type": "x"}}"#), "too many");
        assert_eq!(words(br#"{"error": "busy"}"#), "busy");
        assert_eq!(words(br#"{"detail": "not found"}"#), "not found");
        assert_eq!(words(b"<html>"), "<html>");
        assert_eq!(words(b""), "no words");
        assert!(words("\u{e9}".repeat(9999).as_bytes()).len() < 700);
    }
}
