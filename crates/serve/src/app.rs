//! What all requests share, and the way each takes: key, place, body, handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::api_error::ApiError;
use crate::metrics::Counters;
use crate::{ServeOptions, ServedModel};
use crate::{chat, completions, embeddings, metrics, models};

/// What all requests share.
pub(crate) struct App {
    pub served: ServedModel,
    pub options: ServeOptions,
    pub tells_tools: bool,
    pub counters: Counters,
    /// When the server began, in seconds since 1970.
    pub began_s: u64,
    pub ending: watch::Sender<ServerPhase>,
    in_flight: AtomicUsize,
    numbers: AtomicU64,
}

/// How far the server's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerPhase {
    /// Everybody is welcome.
    Open,
    /// New requests are refused.
    Draining,
    /// All replies end.
    Stopped,
}

impl App {
    pub fn new(served: ServedModel, options: ServeOptions) -> Self {
        App {
            tells_tools: served.tells_tools(),
            served,
            options,
            counters: Counters::default(),
            began_s: crate::served_model::now_s(),
            ending: watch::Sender::new(ServerPhase::Open),
            in_flight: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
        }
    }

    /// Requests that have a place.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// A name for a reply, of its own in this process.
    pub fn id(&self, kind: &str) -> String {
        format!("{kind}-{:x}{:06x}", self.began_s, self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// A place for a request until it is dropped.
    fn take_place(self: &Arc<Self>) -> Result<Permit, ApiError> {
        if *self.ending.borrow() != ServerPhase::Open {
            return Err(ApiError::ending());
        }
        let place = Permit(Arc::clone(self));
        let limit = self.options.requests_max;
        if self.in_flight.fetch_add(1, Ordering::SeqCst) >= limit {
            let text = format!(
                "{limit} requests are in work or waiting, which is the limit; try again later"
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text).code("queue_full"));
        }
        Ok(place)
    }

    /// Whether a model of this name is here; a request without a name takes what there is.
    pub fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        match name {
            Some(name) if !self.served.answers_to(name) => {
                let text = format!(
                    "the model '{name}' is not here; this server has '{}'",
                    self.served.name
                );
                Err(ApiError::new(StatusCode::NOT_FOUND, text).code("model_not_found"))
            }
            _ => Ok(()),
        }
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.options.api_key else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        // As long for a wrong first byte as for a wrong last one.
        let differ = given.iter().zip(key.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
        if given.len() == key.len() && differ == 0 {
            return Ok(());
        }
        let text =
            "expected the server's API key as 'Authorization: Bearer KEY', found another or none";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, text).code("invalid_api_key"))
    }
}

/// A request's place among those in work.
pub(crate) struct Permit(Arc<App>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All addresses.
pub(crate) fn router(app: Arc<App>) -> Router {
    let asked = Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/embeddings", post(embeddings::handle))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/metrics", get(metrics::handle))
        .layer(from_fn_with_state(Arc::clone(&app), with_key));
    asked
        .route("/health", get(models::health))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), counted))
        .with_state(app)
}

async fn with_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.check_key(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn counted(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // Only addresses that there are: the others would be as many as somebody likes to ask for.
    let path = request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    app.counters.count(path.as_deref().unwrap_or("other"), response.status().as_u16());
    response
}

async fn nowhere(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is no {method} {}; see /v1/models", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Takes a place and reads a request's JSON body.
pub(crate) async fn take<T: DeserializeOwned>(
    app: &Arc<App>,
    request: Request,
) -> Result<(Permit, T), ApiError> {
    let place = app.take_place()?;
    let (parts, body) = request.into_parts();
    // Browsers send no JSON to other sites without asking first: a page cannot use a server on the
    // loopback behind our back.
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if kind
        .split(';')
        .next()
        .is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json"))
    {
        let text = format!("expected 'Content-Type: application/json', found '{kind}'");
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let bytes = read(app, &parts.headers, body).await?;
    let body = serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad(format!("the body is no request: {e}")))?;
    Ok((place, body))
}

async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, ApiError> {
    let limit = app.options.body_bytes_max;
    let too_large = || {
        let text = format!("the body has more than {limit} bytes, which is the limit");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let told = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let limit_s = app.options.body_timeout.as_secs_f64();
    match tokio::time::timeout(app.options.body_timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // A body without a told length that is too long, or a connection that broke: nobody reads
        // the latter's answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {limit_s} s"),
        )),
    }
}
