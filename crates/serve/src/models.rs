//! The endpoints `/v1/models` and `/health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::state::{AppState, ServerPhase};

pub(crate) async fn list(State(app): State<Arc<AppState>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [model_object(&app)]}))
}

pub(crate) async fn retrieve(
    State(app): State<Arc<AppState>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    app.check_model(Some(&name))?;
    Ok(Json(model_object(&app)))
}

fn model_object(app: &AppState) -> Value {
    json!({
        "id": app.model.name,
        "object": "model",
        "created": app.started_unix_s,
        "owned_by": "vendomini",
        "max_model_len": app.model.engine.context(),
    })
}

/// Status 200 while requests are accepted, else 503 with the reason.
pub(crate) async fn health(State(app): State<Arc<AppState>>) -> Response {
    let unavailable = |body: Value| (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    let shutting_down = *app.phase.borrow() != ServerPhase::Open;
    match app.model.engine.fatal_error() {
        Some(error) => unavailable(json!({"status": "dead", "cause": error.cause})),
        None if shutting_down => unavailable(json!({"status": "ending"})),
        None => Json(json!({"status": "ok"})).into_response(),
    }
}
