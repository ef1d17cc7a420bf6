//! HTTP client of the hub: URLs, token, timeouts.

use super::listing::RepoListing;
use crate::error::FetchError;
use crate::request::Hub;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit on one attempt to read a response body; the next attempt continues a longer download.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// HTTP client of one hub, with the user's access token.
pub(super) struct HubClient {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl HubClient {
    pub(super) fn new(hub: &Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .user_agent(concat!("vendomini/", env!("CARGO_PKG_VERSION")))
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                    .build(),
            )
            .build();
        HubClient {
            agent: config.new_agent(),
            endpoint: hub.endpoint.trim_end_matches('/').to_owned(),
            token: hub.token.clone(),
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn file_url(&self, model: &str, commit: &str, path: &str) -> String {
        format!("{}/{model}/resolve/{commit}/{path}", self.endpoint)
    }

    /// Requests the list of a repository's files at a revision.
    pub(super) fn listing(
        &self,
        model: &str,
        revision: Option<&str>,
    ) -> Result<RepoListing, FetchError> {
        let revision = revision.unwrap_or("main");
        let url = format!("{}/api/models/{model}/revision/{revision}?blobs=true", self.endpoint);
        let response = self.get(&url, 0).map_err(|e| self.unreachable(&e.to_string()))?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            404 => {
                let why = format!("{} has no such model or revision ({revision})", self.endpoint);
                return Err(FetchError::NotThere { model: model.to_owned(), why });
            }
            500.. => return Err(self.unreachable(&format!("HTTP {status}"))),
            _ => return Err(self.refused(&url, status)),
        }
        let text =
            response.into_body().read_to_string().map_err(|e| self.unreachable(&e.to_string()))?;
        let malformed = |found: String| FetchError::Refused {
            url,
            why: format!("expected a repository's file list, found {found}"),
        };
        match serde_json::from_str::<RepoListing>(&text) {
            Ok(listing) if listing.commit.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(listing),
            Ok(listing) => Err(malformed(format!("the commit {:?}", listing.commit))),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// Requests a file's bytes from `offset` on.
    pub(super) fn get(&self, url: &str, offset: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            // ureq drops the header when a redirect leads to another host.
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        request.call()
    }

    /// The error for an HTTP status that a retry would not change.
    pub(super) fn refused(&self, url: &str, status: u16) -> FetchError {
        let why = match (status, &self.token) {
            (401 | 403, None) => {
                "the model is gated or private. Accept its license on the hub and set HF_TOKEN"
                    .to_owned()
            }
            (401 | 403, Some(_)) => {
                "the token has no access. Accept the model's license with the token's account"
                    .to_owned()
            }
            (404 | 410, _) => "the file no longer exists".to_owned(),
            _ => "the hub refused the request".to_owned(),
        };
        FetchError::Refused { url: url.to_owned(), why: format!("HTTP {status}: {why}") }
    }

    fn unreachable(&self, why: &str) -> FetchError {
        FetchError::Unreachable { endpoint: self.endpoint.clone(), why: why.to_owned() }
    }
}
