//! Settings and limits of a server.

use std::net::SocketAddr;
use std::time::Duration;

/// Address, API key and limits of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; with port 0 the system chooses a free port.
    pub address: SocketAddr,
    /// The key that clients must send as `Authorization: Bearer KEY`; `None` if no key is required.
    pub api_key: Option<String>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Most requests that may run or wait at a time; further requests are refused with status 429.
    pub requests_max: usize,
    /// Largest `max_tokens` that a request may set; `None` if only the context length limits it.
    pub reply_tokens_max: Option<usize>,
    /// Longest time in which a request body must arrive.
    pub body_timeout: Duration,
    /// Longest time from the request to the end of its reply, including the time in the queue.
    pub reply_timeout: Duration,
}

impl ServeOptions {
    /// The default limits, for a server that listens on `address`.
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
