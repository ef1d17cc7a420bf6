//! State that all requests share: the model, the options, the permits in use, the shutdown phase.

use base::unpoisoned;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api_error::ApiError;
use crate::{ServeOptions, ServedModel};

/// Number of constrained requests that are prepared at the same time.
pub(crate) const CONSTRAINED_SLOTS: usize = 4;

pub(crate) struct AppState {
    pub model: ServedModel,
    pub options: ServeOptions,
    pub counters: RequestCounters,
    /// Unix time at which the server started, in seconds.
    pub started_unix_s: u64,
    pub phase: watch::Sender<ServerPhase>,
    /// Slots of the constrained requests that are being prepared: compiling a schema may take
    /// seconds, during which other requests need threads, too.
    constrained_slots: Arc<Semaphore>,
    in_flight: AtomicUsize,
    ids_issued: AtomicU64,
}

/// Phases of a graceful shutdown, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerPhase {
    Open,
    /// New requests are refused; requests in flight continue.
    Draining,
    /// All replies are ended.
    Stopped,
}

impl AppState {
    pub fn new(model: ServedModel, options: ServeOptions) -> Self {
        AppState {
            model,
            options,
            counters: RequestCounters::default(),
            started_unix_s: now_unix_s(),
            phase: watch::Sender::new(ServerPhase::Open),
            constrained_slots: Arc::new(Semaphore::new(CONSTRAINED_SLOTS)),
            in_flight: AtomicUsize::new(0),
            ids_issued: AtomicU64::new(0),
        }
    }

    /// Number of requests that hold a permit.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// A response id that is unique in this process.
    pub fn new_id(&self, prefix: &str) -> String {
        let number = self.ids_issued.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{:x}{number:06x}", self.started_unix_s)
    }

    /// Takes one of the `requests_max` permits; dropping the permit returns it.
    pub fn acquire_permit(self: &Arc<Self>) -> Result<Permit, ApiError> {
        if *self.phase.borrow() != ServerPhase::Open {
            return Err(ApiError::shutting_down());
        }
        let permit = Permit(Arc::clone(self));
        let limit = self.options.requests_max;
        if self.in_flight.fetch_add(1, Ordering::SeqCst) >= limit {
            let text = format!(
                "{limit} requests are running or queued, which is the limit; try again later"
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text).code("queue_full"));
        }
        Ok(permit)
    }

    /// Waits for a slot for the preparation of a constrained request; `None` if it is not
    /// constrained. Dropping the slot returns it.
    pub async fn constrained_slot(
        &self,
        is_constrained: bool,
    ) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if !is_constrained {
            return Ok(None);
        }
        let slots = Arc::clone(&self.constrained_slots);
        match tokio::time::timeout(self.options.reply_timeout, slots.acquire_owned()).await {
            Ok(Ok(slot)) => Ok(Some(slot)),
            // The semaphore is never closed.
            Ok(Err(_)) => Err(ApiError::shutting_down()),
            Err(_) => Err(ApiError::timeout(self.options.reply_timeout.as_secs_f64())),
        }
    }

    /// Status 404 if the name is not this model's name or alias; a request without a name gets this
    /// model.
    pub fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        match name {
            Some(name) if !self.model.has_name(name) => {
                let text =
                    format!("model '{name}' not found; this server has '{}'", self.model.name);
                Err(ApiError::new(StatusCode::NOT_FOUND, text).code("model_not_found"))
            }
            _ => Ok(()),
        }
    }
}

/// A permit for one request in flight; dropping it returns it.
pub(crate) struct Permit(Arc<AppState>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Numbers of HTTP responses by route and status.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters(Mutex<BTreeMap<(String, u16), u64>>);

impl RequestCounters {
    pub fn count(&self, route: &str, status: u16) {
        let mut counts = unpoisoned(self.0.lock());
        *counts.entry((route.to_owned(), status)).or_default() += 1;
    }

    pub fn snapshot(&self) -> BTreeMap<(String, u16), u64> {
        unpoisoned(self.0.lock()).clone()
    }
}

pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
