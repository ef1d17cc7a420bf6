//! Error responses in OpenAI's format: an HTTP status and `{"error": {"message", "type", "param",
//! "code"}}`.

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::grammar::GrammarError;
use engine::{RequestError, SubmitError, WaitError};
use error_kind::{ErrorKind, HasKind};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    message: String,
    code: Option<&'static str>,
    param: Option<Cow<'static, str>>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), code: None, param: None }
    }

    /// Status 400 with the name of the invalid request field.
    pub fn field(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ApiError { param: Some(param.into()), ..ApiError::bad_request(message) }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn shutting_down() -> Self {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down; send the request to another",
        )
        .code("shutting_down")
    }

    /// Status 504: the reply took longer than the server allows.
    pub fn timeout(limit_s: f64) -> Self {
        let message = format!(
            "the reply was not finished within {limit_s} s; request fewer tokens, or raise --reply-timeout"
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, message).code("timeout")
    }

    pub fn code(self, code: &'static str) -> Self {
        ApiError { code: Some(code), ..self }
    }

    /// The JSON body of the error response.
    pub fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<SubmitError> for ApiError {
    fn from(cause: SubmitError) -> Self {
        match cause {
            SubmitError::QueueFull { .. } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, cause.to_string()).code("queue_full")
            }
            SubmitError::Closed => ApiError::shutting_down(),
            SubmitError::Died(_) => ApiError::new(status(cause.kind()), cause.to_string()),
            SubmitError::Request(cause) => cause.into(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(cause: RequestError) -> Self {
        let error = ApiError::new(status(cause.kind()), cause.to_string());
        match cause {
            RequestError::PromptTooLong { .. } => error.code("context_length_exceeded"),
            RequestError::Grammar(GrammarError::Busy { .. }) => {
                ApiError { status: StatusCode::TOO_MANY_REQUESTS, ..error }.code("queue_full")
            }
            _ => error,
        }
    }
}

impl From<WaitError> for ApiError {
    fn from(cause: WaitError) -> Self {
        ApiError::new(status(cause.kind()), cause.to_string())
    }
}

/// The HTTP status of each error kind; no other function maps error kinds to statuses.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        // Faults of the server or its machine: a client cannot fix them by changing the request.
        ErrorKind::BadInput
        | ErrorKind::NotFound
        | ErrorKind::Unavailable
        | ErrorKind::OutOfMemory
        | ErrorKind::Io
        | ErrorKind::Timeout
        | ErrorKind::WrongResult
        | ErrorKind::Interrupted
        | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
