//! Settings and limits of a server.

use std::net::SocketAddr;
use std::time::Duration;

/// Address, API key and limits of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; port 0 takes a free port.
    pub address: SocketAddr,
    /// The key that clients must send as `Authorization: Bearer KEY`; `None`: no key is required.
    pub api_key: Option<String>,
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Requests running or queued at a time; more are refused with 429.
    pub requests_max: usize,
    /// Largest `max_tokens` that a request may ask for. `None`: bounded by the context alone.
    pub reply_tokens_max: Option<usize>,
    /// Longest time that a body may take to arrive.
    pub body_timeout: Duration,
    /// Longest time that a reply may take, its time in the queue included.
    pub reply_timeout: Duration,
}

impl ServeOptions {
    /// Default limits at an address.
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
