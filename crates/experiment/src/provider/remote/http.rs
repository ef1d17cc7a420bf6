//! One exchange with a server: an answer, or why there is none, within its time. No exchange
//! outlives its limit for us, even if the system call underneath does.

use super::retry::RequestDeadline;
use crate::provider::{ProviderError, ServerSettings};
use serde_json::Value;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Bytes of an answer that are read. A completion is kilobytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How often a waiting request looks whether it was canceled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Beyond the client's own limit: then it hangs where no time limit of its own reaches, as in a
/// resolver.
const GRACE: Duration = Duration::from_secs(2);

/// What a server said.
#[derive(Debug, Clone)]
pub(super) struct HttpResponse {
    pub status: u16,
    /// The header, if it is text.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// The way to a server.
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

    /// Outer error: the request was given up by us. Inner: the exchange failed, and may go better
    /// another time.
    pub fn post(
        &self,
        path: &str,
        body: &Value,
        limit: Duration,
        patience: &RequestDeadline<'_>,
    ) -> Result<Result<HttpResponse, String>, ProviderError> {
        let mut request = self
            .agent
            .post(format!("{}/{path}", self.base_url))
            .header("content-type", "application/json");
        if let Some(key) = &self.authorization {
            request = request.header("authorization", key);
        }
        let request = request.config().timeout_global(Some(limit)).build();
        let (bytes, (tell, hear)) = (body.to_string(), mpsc::sync_channel(1));
        let work = move || {
            // Nobody listens any more when the request was given up.
            let _ = tell.send(exchange(request, &bytes));
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(work);
        thread.map_err(|error| {
            ProviderError::Unavailable(format!("no thread for a request: {error}"))
        })?;
        let until = Instant::now() + limit + GRACE;
        loop {
            match hear.recv_timeout(LOOK_EVERY) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Err("the request's thread died".into()));
                }
                Err(RecvTimeoutError::Timeout) if patience.canceled() => {
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
    let read = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
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
        // The key itself is never shown.
        Ok(_) | Err(std::env::VarError::NotUnicode(_)) => Err(ProviderError::Unavailable(format!(
            "the key in ${variable} holds characters that no header can carry"
        ))),
        Err(std::env::VarError::NotPresent) => Ok(None),
    }
}

fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}
