//! Routes, and the middleware that checks the API key and counts requests.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::api_error::ApiError;
use crate::state::AppState;
use crate::{chat, completions, embeddings, metrics, models};

pub(crate) fn router(app: Arc<AppState>) -> Router {
    let with_key = Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/embeddings", post(embeddings::handle))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::retrieve))
        .route("/metrics", get(metrics::handle))
        .layer(from_fn_with_state(Arc::clone(&app), require_key));
    with_key
        .route("/health", get(models::health))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), count_requests))
        .with_state(app)
}

async fn require_key(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    match check_key(&app, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check_key(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = &app.options.api_key else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    // The comparison takes constant time, so that its duration does not reveal how many leading
    // bytes of the key are right.
    let differing_bits =
        given.iter().zip(key.as_bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    if given.len() == key.len() && differing_bits == 0 {
        return Ok(());
    }
    let text =
        "expected the server's API key as 'Authorization: Bearer KEY', found another or none";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, text).code("invalid_api_key"))
}

async fn count_requests(
    State(app): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    // Only known routes become labels, so that clients cannot create an unlimited number of time
    // series.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    app.counters.count(route.as_deref().unwrap_or("other"), response.status().as_u16());
    response
}

async fn not_found(method: Method, uri: Uri) -> ApiError {
    let text = format!("there is no {method} {}; see /v1/models", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, text)
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let text = format!("{} does not support {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, text)
}
