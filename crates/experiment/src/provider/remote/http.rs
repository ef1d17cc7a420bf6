//! One HTTP exchange with a time limit. The exchange runs on a thread of its own, so that the limit
//! holds even if a system call hangs.

use super::retry::RequestDeadline;
use crate::provider::{ProviderError, ServerSettings};
use serde_json::Value;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Maximum number of bytes read of a response body; a completion has only kilobytes.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Interval at which the thread that waits for a response polls for cancellation.
const POLL: Duration = Duration::from_millis(50);
/// Additional time granted to the HTTP client, which enforces the limit itself. After it, the
/// exchange hangs in a call that the client's limit does not cover, such as name resolution.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct HttpResponse {
    pub status: u16,
    /// Value of the `Retry-After` header, if it is text.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// An HTTP client for one server, with its address, API key and open connections.
pub(super) struct HttpClient {
    agent: Agent,
    base_url: String,
    authorization: Option<String>,
}

impl HttpClient {
    pub fn new(settings: &ServerSettings) -> Result<HttpClient, ProviderError> {
        let mut agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs_f64(settings.connect_timeout_s)))
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                    .build(),
            )
            .user_agent(concat!("vendomini/", env!("CARGO_PKG_VERSION")));
        if is_local(&settings.base_url) {
            agent = agent.proxy(None);
        }
        Ok(HttpClient {
            agent: agent.build().new_agent(),
            base_url: settings.base_url.trim_end_matches('/').to_string(),
            authorization: authorization(&settings.api_key_env)?,
        })
    }

    pub fn address(&self) -> &str {
        &self.base_url
    }

    /// Posts `body` as JSON and waits for the response. The inner error describes a failed
    /// exchange, which may succeed when repeated.
    ///
    /// # Errors
    /// The request was canceled, or no thread can be started.
    pub fn post(
        &self,
        path: &str,
        body: &Value,
        limit: Duration,
        deadline: &RequestDeadline<'_>,
    ) -> Result<Result<HttpResponse, String>, ProviderError> {
        let mut request = self
            .agent
            .post(format!("{}/{path}", self.base_url))
            .header("content-type", "application/json");
        if let Some(key) = &self.authorization {
            request = request.header("authorization", key);
        }
        let request = request.config().timeout_global(Some(limit)).build();
        let (bytes, (sender, receiver)) = (body.to_string(), mpsc::sync_channel(1));
        let exchange = move || {
            // Sending fails if `post` has returned already and dropped the receiver.
            let _ = sender.send(exchange(request, &bytes));
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(exchange);
        thread.map_err(|error| {
            ProviderError::Unavailable(format!("cannot start a thread for a request: {error}"))
        })?;
        let until = Instant::now() + limit + GRACE;
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(response) => return Ok(response),
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Err("the request's thread died".into()));
                }
                Err(RecvTimeoutError::Timeout) if deadline.canceled() => {
                    return Err(ProviderError::Canceled);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > until => {
                    return Ok(Err(format!("no answer within {} s", limit.as_secs_f64())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn exchange(
    request: ureq::RequestBuilder<ureq::typestate::WithBody>,
    body: &str,
) -> Result<HttpResponse, String> {
    let mut response = request.send(body).map_err(|error| error.to_string())?;
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let (status, retry_after) = (response.status().as_u16(), header.map(str::to_string));
    let read = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
    match read {
        Ok(body) => Ok(HttpResponse { status, retry_after, body }),
        Err(error) => Err(format!("the answer (HTTP {status}) broke off: {error}")),
    }
}

fn authorization(variable: &str) -> Result<Option<String>, ProviderError> {
    match std::env::var(variable) {
        Ok(key) if key.trim().is_empty() => Ok(None),
        Ok(key) if key.trim().bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(format!("Bearer {}", key.trim())))
        }
        // The message does not contain the key, which is secret.
        Ok(_) | Err(std::env::VarError::NotUnicode(_)) => Err(ProviderError::Unavailable(format!(
            "the key in ${variable} has characters that an HTTP header cannot contain"
        ))),
        Err(std::env::VarError::NotPresent) => Ok(None),
    }
}

fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}
