//! How a server works.

use std::net::SocketAddr;
use std::time::Duration;

/// Settings of a server, and its limits.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// What clients must send as `Authorization: Bearer KEY`; `None`: everybody is answered.
    pub api_key: Option<String>,
    /// Bytes of a request's body at most.
    pub body_bytes_max: usize,
    /// Requests that may be in work or waiting at a time; more are refused with 429.
    pub requests_max: usize,
    /// Tokens that a reply may have at most; a request for more is refused. `None`: the context
    /// bounds it.
    pub reply_tokens_max: Option<usize>,
    /// The longest that a body may take to arrive.
    pub body_timeout: Duration,
    /// The longest that a reply may take, its wait in the queue included.
    pub reply_timeout: Duration,
}

impl ServeOptions {
    /// Defaults, at an address.
    pub fn new(address: SocketAddr) -> Self {
        ServeOptions {
            address,
            api_key: None,
            body_bytes_max: 4 << 20,
            requests_max: 1024,
            reply_tokens_max: None,
            body_timeout: Duration::from_secs(30),
            reply_timeout: Duration::from_secs(3600),
        }
    }
}
