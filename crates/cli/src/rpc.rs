//! JSON-RPC 2.0 (jsonrpc.org/specification), one JSON message a line: requests, notifications and
//! batches in, responses out.

use crate::failure::Failure;
use crate::output;
use results::RawJson;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{BufRead, Read};

/// Maximum number of bytes of a line. The rest of a longer one is skipped.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Codes that the specification defines.
pub mod code {
    pub const PARSE_ERROR: i64 = -32_700;
    pub const INVALID_REQUEST: i64 = -32_600;
    pub const METHOD_NOT_FOUND: i64 = -32_601;
    pub const INVALID_PARAMS: i64 = -32_602;
    pub const INTERNAL_ERROR: i64 = -32_603;
}

/// An error of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RpcError {
    pub code: i64,
    /// What was expected and what was found.
    pub message: String,
}

impl RpcError {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        RpcError { code, message: message.into() }
    }
}

/// What a server can do.
pub trait Methods {
    /// Answers a request; the result is JSON.
    ///
    /// # Errors
    /// The method does not exist, the parameters are invalid, or the method failed.
    fn call(&mut self, method: &str, params: Map<String, Value>) -> Result<RawJson, RpcError>;

    /// Whether the server ends after the present message.
    fn closed(&self) -> bool;
}

#[derive(Serialize)]
struct RpcResponse {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
    id: Value,
}

impl RpcResponse {
    fn new(id: Value, ended: Result<RawJson, RpcError>) -> Self {
        let (result, error) = match ended {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        RpcResponse { jsonrpc: "2.0", result, error, id }
    }

    /// An error of a message without an id.
    fn error(code: i64, message: impl Into<String>) -> Self {
        RpcResponse::new(Value::Null, Err(RpcError::new(code, message)))
    }
}

/// Answers the messages of `input` until it ends or the server is closed.
///
/// # Errors
/// `Io` if the input cannot be read or stdout cannot be written.
pub fn serve(mut input: impl BufRead, methods: &mut impl Methods) -> Result<(), Failure> {
    let mut line = Vec::new();
    while !methods.closed() {
        let whole = read_line(&mut input, &mut line)
            .map_err(|error| Failure::io("cannot read stdin", &error))?;
        let answer = match whole {
            LineRead::End => return Ok(()),
            LineRead::TooLong => one(RpcResponse::error(
                code::INVALID_REQUEST,
                format!("expected a line of at most {LINE_BYTES_MAX} bytes, found a longer one"),
            )),
            LineRead::Whole if line.trim_ascii().is_empty() => None,
            LineRead::Whole => answer(&line, methods),
        };
        if let Some(answer) = answer {
            output::part(&(answer + "\n"))?;
        }
    }
    Ok(())
}

enum LineRead {
    Whole,
    TooLong,
    End,
}

/// Reads a line, whose last one may lack its end. Of a line that is too long, no more than the
/// limit is kept.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<LineRead> {
    line.clear();
    if input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(LineRead::End);
    }
    if line.len() <= LINE_BYTES_MAX || line.last() == Some(&b'\n') {
        return Ok(LineRead::Whole);
    }
    input.skip_until(b'\n')?;
    Ok(LineRead::TooLong)
}

/// The answer to a message as JSON; `None` if it has only notifications.
fn answer(line: &[u8], methods: &mut impl Methods) -> Option<String> {
    let message: Value = match serde_json::from_slice(line) {
        Ok(message) => message,
        Err(error) => {
            let text = format!("expected one JSON message in the line: {error}");
            return one(RpcResponse::error(code::PARSE_ERROR, text));
        }
    };
    match message {
        Value::Array(batch) if batch.is_empty() => {
            let text = "expected a batch of at least one request, found none";
            one(RpcResponse::error(code::INVALID_REQUEST, text))
        }
        Value::Array(batch) => {
            let answers: Vec<RpcResponse> =
                batch.into_iter().filter_map(|request| respond(request, methods)).collect();
            (!answers.is_empty()).then(|| json_text(&answers))
        }
        request => respond(request, methods).and_then(one),
    }
}

fn one(response: RpcResponse) -> Option<String> {
    Some(json_text(&response))
}

fn json_text(value: &impl Serialize) -> String {
    RawJson::of(value).text().to_string()
}

/// The response to a request; `None` for a notification, which is carried out likewise.
fn respond(request: Value, methods: &mut impl Methods) -> Option<RpcResponse> {
    match RpcRequest::read(request) {
        Ok(RpcRequest { method, params, id }) => {
            let ended = params.and_then(|params| methods.call(&method, params));
            id.map(|id| RpcResponse::new(id, ended))
        }
        Err(text) => Some(RpcResponse::error(code::INVALID_REQUEST, text)),
    }
}

struct RpcRequest {
    method: String,
    params: Result<Map<String, Value>, RpcError>,
    /// `None` for a notification.
    id: Option<Value>,
}

impl RpcRequest {
    fn read(request: Value) -> Result<RpcRequest, String> {
        let Value::Object(mut request) = request else {
            return Err(format!("expected a request object, found {}", kind(&request)));
        };
        if request.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err("expected the member \"jsonrpc\": \"2.0\"".into());
        }
        let id = request.remove("id");
        if let Some(id @ (Value::Array(_) | Value::Object(_) | Value::Bool(_))) = &id {
            return Err(format!("id: expected a text, a number or null, found {}", kind(id)));
        }
        let method = match request.remove("method") {
            Some(Value::String(method)) => method,
            Some(other) => return Err(format!("method: expected a text, found {}", kind(&other))),
            None => return Err("expected the member \"method\", found none".into()),
        };
        let params = match request.remove("params") {
            None => Ok(Map::new()),
            Some(Value::Object(params)) => Ok(params),
            Some(other) => Err(RpcError::new(
                code::INVALID_PARAMS,
                format!("params: expected an object (parameters by name), found {}", kind(&other)),
            )),
        };
        Ok(RpcRequest { method, params, id })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(Vec<String>);

    impl Methods for Echo {
        fn call(&mut self, method: &str, params: Map<String, Value>) -> Result<RawJson, RpcError> {
            self.0.push(method.to_string());
            match method {
                "echo" => Ok(RawJson::of(&params)),
                _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "no such method")),
            }
        }

        fn closed(&self) -> bool {
            false
        }
    }

    fn answer_to(line: &str) -> Option<Value> {
        answer(line.as_bytes(), &mut Echo(Vec::new()))
            .map(|text| serde_json::from_str(&text).unwrap())
    }

    /// The examples of the specification's section 7, with parameters by name.
    #[test]
    fn requests_notifications_and_batches_are_answered_by_the_standard() {
        let code_of = |line: &str| answer_to(line).unwrap()["error"]["code"].as_i64();
        let echo = r#"{"jsonrpc":"2.0","method":"echo","params":{"a":1},"id":"x"}"#;
        let done = serde_json::json!({"jsonrpc": "2.0", "result": {"a": 1}, "id": "x"});
        assert_eq!(answer_to(echo), Some(done.clone()));
        assert_eq!(answer_to(r#"{"jsonrpc":"2.0","method":"echo"}"#), None);
        assert_eq!(answer_to(r#"{"jsonrpc":"2.0","method":"none"}"#), None);
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","method":"none","id":1}"#), Some(-32_601));
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","method":"#), Some(-32_700));
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","method":1,"id":1}"#), Some(-32_600));
        assert_eq!(code_of(r#"{"method":"echo","id":1}"#), Some(-32_600));
        assert_eq!(code_of("[]"), Some(-32_600));
        assert_eq!(
            code_of(r#"{"jsonrpc":"2.0","method":"echo","params":[1],"id":1}"#),
            Some(-32_602)
        );
        let batch =
            answer_to(&format!(r#"[{echo},1,{{"jsonrpc":"2.0","method":"echo"}}]"#)).unwrap();
        assert_eq!((batch[0].clone(), batch.as_array().unwrap().len()), (done, 2));
        assert_eq!(batch[1]["id"], Value::Null);
    }

    #[test]
    fn a_long_line_is_skipped_and_the_next_one_read() {
        let long = format!("{}\nnext", "x".repeat(LINE_BYTES_MAX + 5));
        let (mut input, mut line) = (long.as_bytes(), Vec::new());
        assert!(matches!(read_line(&mut input, &mut line).unwrap(), LineRead::TooLong));
        assert!(matches!(read_line(&mut input, &mut line).unwrap(), LineRead::Whole));
        assert_eq!(line, b"next");
        assert!(matches!(read_line(&mut input, &mut line).unwrap(), LineRead::End));
    }
}
