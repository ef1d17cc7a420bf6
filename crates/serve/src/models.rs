//! `/v1/models` and `/health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::app::{App, ServerPhase};

pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [card(&app)]}))
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    app.check_model(Some(&name))?;
    Ok(Json(card(&app)))
}

fn card(app: &App) -> Value {
    json!({
        "id": app.served.name,
        "object": "model",
        "created": app.began_s,
        "owned_by": "vendomini",
        "max_model_len": app.served.engine.context(),
    })
}

/// Whether requests are answered: 200, or 503 with the reason.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let ending = *app.ending.borrow() != ServerPhase::Open;
    match app.served.engine.fatal_error() {
        Some(death) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "dead", "cause": death.cause})))
                .into_response()
        }
        None if ending => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "ending"}))).into_response()
        }
        None => Json(json!({"status": "ok"})).into_response(),
    }
}
