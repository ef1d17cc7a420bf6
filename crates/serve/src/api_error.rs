//! What a client is told when it gets no reply, in the form that OpenAI's clients read.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{RequestError, SubmitError, WaitError};
use error_kind::{ErrorKind, HasKind};
use serde_json::{Value, json};

/// A request that is not answered: a status, and `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    message: String,
    code: Option<&'static str>,
    param: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), code: None, param: None }
    }

    /// 400: a field says what cannot be done.
    pub fn field(param: &'static str, message: impl Into<String>) -> Self {
        ApiError { param: Some(param), ..ApiError::bad(message) }
    }

    /// 400.
    pub fn bad(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// 503: the server is ending.
    pub fn ending() -> Self {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down; send the request to another",
        )
        .code("shutting_down")
    }

    /// 504: not done in time.
    pub fn late(limit_s: f64) -> Self {
        let message = format!(
            "the reply was not done within {limit_s} s; ask for fewer tokens, or raise the server's limit"
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, message).code("timeout")
    }

    pub fn code(self, code: &'static str) -> Self {
        ApiError { code: Some(code), ..self }
    }

    /// The document.
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<SubmitError> for ApiError {
    fn from(cause: SubmitError) -> Self {
        let text = cause.to_string();
        match cause {
            SubmitError::QueueFull { .. } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, text).code("queue_full")
            }
            SubmitError::Closed => ApiError::ending(),
            SubmitError::Died(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            SubmitError::Request(cause) => cause.into(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(cause: RequestError) -> Self {
        let text = cause.to_string();
        match (&cause, cause.kind()) {
            (RequestError::PromptTooLong { .. }, _) => {
                ApiError::bad(text).code("context_length_exceeded")
            }
            (_, ErrorKind::Usage) => ApiError::bad(text),
            _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}

impl From<WaitError> for ApiError {
    fn from(cause: WaitError) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string())
    }
}
