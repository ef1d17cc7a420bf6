//! Retries of failed requests: which failures are retried, after what pause, and within which
//! deadline.

use super::http::HttpResponse;
use crate::provider::ProviderError;
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};
use warehouse::RandomStream;

/// Maximum pause after the first failure; it doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Interval at which a pause polls for cancellation.
const POLL: Duration = Duration::from_millis(50);
/// Maximum number of characters that an error message quotes from a server's message.
const MESSAGE_CHARS_MAX: usize = 300;

/// The error of one attempt.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A later attempt may succeed.
    Transient {
        why: String,
        /// The pause that the server requests with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No later attempt can succeed.
    Permanent(ProviderError),
}

impl AttemptError {
    pub fn transient(why: String) -> AttemptError {
        AttemptError::Transient { why, retry_after: None }
    }
}

/// Deadline and cancellation of one reply, shared by all attempts at it.
pub(super) struct RequestDeadline<'a> {
    until: Instant,
    deadline_s: f64,
    jitter: RandomStream,
    canceled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> RequestDeadline<'a> {
    /// Starts the deadline now. `session` and `seed` select the jitter of pauses, so that runs that
    /// failed at the same time do not retry at the same time.
    pub fn new(
        deadline_s: f64,
        session: &str,
        seed: u64,
        canceled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let until = Instant::now() + Duration::from_secs_f64(deadline_s);
        let jitter = RandomStream::new(seed, session);
        RequestDeadline { until, deadline_s, jitter, canceled }
    }

    pub fn canceled(&self) -> bool {
        (self.canceled)()
    }

    /// The time until the deadline.
    ///
    /// # Errors
    /// The deadline has passed.
    pub fn remaining(&self) -> Result<Duration, ProviderError> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.late("an answer of the server")),
        }
    }

    /// Sleeps for `pause`. `why` is the reason for the pause, for the error message.
    ///
    /// # Errors
    /// The deadline would pass first, or the command was canceled.
    pub fn sleep(&self, pause: Duration, why: &str) -> Result<(), ProviderError> {
        if Instant::now() + pause > self.until {
            return Err(self.late(&format!("{} more seconds, since {why}", pause.as_secs_f64())));
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.canceled() {
                return Err(ProviderError::Canceled);
            }
            std::thread::sleep(left.min(POLL));
        }
        Ok(())
    }

    fn late(&self, what: &str) -> ProviderError {
        ProviderError::Late { seconds: self.deadline_s.to_string(), what: what.to_string() }
    }
}

/// The pause after `attempts` failed attempts: exponential backoff, of which half is random. If the
/// server sent `Retry-After`, the pause is that time plus at most one second of backoff.
pub(super) fn backoff(
    attempts: u64,
    retry_after: Option<Duration>,
    deadline: &RequestDeadline<'_>,
) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let longest = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let random = longest.mul_f64(0.5 + 0.5 * deadline.jitter.unit(&[attempts]));
    retry_after.map_or(random, |after| after + random.min(Duration::from_secs(1)))
}

/// # Errors
/// The status is not a success. The error is transient for timeouts, rate limits and server errors,
/// and permanent otherwise.
pub(super) fn check_status(response: &HttpResponse) -> Result<(), AttemptError> {
    let why = || format!("HTTP {}: {}", response.status, error_message(&response.body));
    let unavailable = |what: &str| {
        let text = format!("{what}: {}", why());
        Err(AttemptError::Permanent(ProviderError::Unavailable(text)))
    };
    match response.status {
        200..=299 => Ok(()),
        408 | 409 | 425 | 429 | 500..=599 => Err(AttemptError::Transient {
            why: why(),
            retry_after: response.retry_after.as_deref().and_then(parse_retry_after),
        }),
        401 | 403 => unavailable("the server refuses the key"),
        404 => unavailable("no such model or path"),
        300..=399 => unavailable("the server redirects to another address"),
        _ => {
            let text = format!("the server refuses the request: {}", why());
            Err(AttemptError::Permanent(ProviderError::Refused(text)))
        }
    }
}

/// Parses `Retry-After`: seconds or a date (RFC 9110). `None` for any other text.
fn parse_retry_after(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let when = httpdate::parse_http_date(text.trim()).ok()?;
            Some(when.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// The error message in a response body: its field `error.message`, or else the beginning of the
/// body.
pub(super) fn error_message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_str::<Value>(&text).ok().and_then(|value| {
        let error = value.get("error").unwrap_or(&value);
        let message = error.get("message").or_else(|| value.get("detail")).unwrap_or(error);
        message.as_str().map(str::to_string)
    });
    let message = message.unwrap_or_else(|| text.trim().to_string());
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &message[..at]),
        None if message.is_empty() => "no message".to_string(),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, retry_after: Option<&str>, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            retry_after: retry_after.map(str::to_string),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn timeouts_rate_limits_and_server_errors_are_transient_and_the_rest_permanent() {
        for status in [408, 425, 429, 500, 502, 503, 529] {
            assert!(
                matches!(
                    check_status(&response(status, None, "")),
                    Err(AttemptError::Transient { retry_after: None, .. })
                ),
                "{status}"
            );
        }
        for status in [301, 400, 401, 403, 404, 422] {
            assert!(
                matches!(
                    check_status(&response(status, None, "")),
                    Err(AttemptError::Permanent(_))
                ),
                "{status}"
            );
        }
        assert!(check_status(&response(200, None, "")).is_ok());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(
            (parse_retry_after("-1"), parse_retry_after("soon"), parse_retry_after("inf")),
            (None, None, None)
        );
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let wait = parse_retry_after(&date).unwrap().as_secs();
        assert!((58..=60).contains(&wait), "{wait}");
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO),
            "long past"
        );
    }

    #[test]
    fn backoff_grows_to_a_maximum_and_differs_between_runs() {
        let never = || false;
        let (one, two) = (
            RequestDeadline::new(1.0, "one", 7, &never),
            RequestDeadline::new(1.0, "two", 7, &never),
        );
        let mut last = Duration::ZERO;
        for attempts in 1..=20 {
            let wait = backoff(attempts, None, &one);
            assert!(
                wait <= BACKOFF_MAX && (attempts > 6 || wait > last.mul_f64(0.9)),
                "{attempts}: {wait:?} after {last:?}"
            );
            assert_ne!(wait, backoff(attempts, None, &two));
            last = wait;
        }
        assert!(backoff(1, Some(Duration::from_secs(9)), &one) >= Duration::from_secs(9));
    }

    #[test]
    fn error_messages_are_quoted_from_the_server_and_cut() {
        assert_eq!(
            error_message(br#"{"error": {"message": "too many", "type": "x"}}"#),
            "too many"
        );
        assert_eq!(error_message(br#"{"error": "busy"}"#), "busy");
        assert_eq!(error_message(br#"{"detail": "not found"}"#), "not found");
        assert_eq!(error_message(b"<html>"), "<html>");
        assert_eq!(error_message(b""), "no message");
        assert!(error_message("\u{e9}".repeat(9999).as_bytes()).len() < 700);
    }
}
