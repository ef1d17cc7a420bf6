//! Admits a request: takes a permit, checks the content type, and reads the JSON body within the
//! limits on its size and time.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::state::{AppState, Permit};

/// Takes a permit, then reads and parses the JSON body.
pub(crate) async fn admit<T: DeserializeOwned>(
    app: &Arc<AppState>,
    request: Request,
) -> Result<(Permit, T), ApiError> {
    let permit = app.acquire_permit()?;
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let bytes = read_body(app, &parts.headers, body).await?;
    let body = serde_json::from_slice(&bytes).map_err(|error| {
        let text = invalid_body(&error);
        match invalid_field::<T>(&bytes) {
            Some(field) => ApiError::field(field, text),
            None => ApiError::bad_request(text),
        }
    })?;
    Ok((permit, body))
}

/// Most fields of a body in which an invalid one is looked for; each is a further parse.
const FIELDS_MAX: usize = 64;

/// The field of a body for which it is not a valid request: without it the body is valid, or
/// invalid for another reason. `None` if the body is not an object, or if a field is missing.
fn invalid_field<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut body: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let error_of = |body: &Map<String, Value>| T::deserialize(body).err().map(|e| e.to_string());
    let error = error_of(&body).filter(|_| body.len() <= FIELDS_MAX)?;
    let mut required = None;
    for name in body.keys().cloned().collect::<Vec<_>>() {
        let value = body.remove(&name)?;
        match error_of(&body) {
            Some(same) if same == error => {}
            // Without a required field no other one is looked at: it is the invalid one only if no
            // optional one is.
            Some(other) if other == format!("missing field `{name}`") => {
                required = Some(name.clone())
            }
            _ => return Some(name),
        }
        body.insert(name, value);
    }
    required
}

fn invalid_body(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let limit = match text.starts_with("recursion limit exceeded") {
        true => "; JSON may nest at most 127 deep",
        false => "",
    };
    format!("the body is not a valid request: {text}{limit}")
}

/// Only JSON is accepted: browsers send it across origins only after a CORS preflight, so a web
/// page cannot use a server on the loopback address.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let value =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = format!("expected 'Content-Type: application/json', found '{value}'");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

async fn read_body(app: &AppState, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let limit = app.options.body_bytes_max;
    let too_large = || {
        let text = format!("the body is longer than {limit} bytes, which is the limit");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let limit_s = app.options.body_timeout.as_secs_f64();
    match tokio::time::timeout(app.options.body_timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Either a chunked body over the limit, or a broken connection, where the client cannot
        // receive a response anyway.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {limit_s} s"),
        )),
    }
}
