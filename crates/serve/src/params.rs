//! Request parameters that chat and text completions share.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use engine::grammar::Constraint;
use engine::sampling::SamplingParams;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::request_fields::{refuse_unsupported, refuse_unsupported_in};
use crate::state::AppState;

const STOP_STRINGS_MAX: usize = 16;

#[derive(Debug, Deserialize)]
pub(crate) struct CommonParams {
    pub model: Option<String>,
    #[serde(default)]
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<i64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stop: Option<OneOrMany>,
    logprobs: Option<Value>,
    top_logprobs: Option<u64>,
    pub response_format: Option<ResponseFormat>,
    /// The fields that no endpoint reads.
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "stop: expected a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// OpenAI's `response_format`: plain text, any JSON object, or JSON that matches a schema.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text {
        #[serde(flatten)]
        unsupported: Map<String, Value>,
    },
    JsonObject {
        /// llama.cpp's extension.
        schema: Option<Value>,
        #[serde(flatten)]
        unsupported: Map<String, Value>,
    },
    JsonSchema {
        json_schema: NamedSchema,
        #[serde(flatten)]
        unsupported: Map<String, Value>,
    },
}

/// A schema with OpenAI's fields about it. The reply always matches the schema, so that `strict` is
/// true of every one; the name and the description only tell readers what it is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NamedSchema {
    schema: Option<Value>,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "strict")]
    _strict: Option<bool>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

impl CommonParams {
    /// Refuses requests that use an unsupported parameter.
    pub fn check(&self) -> Result<(), ApiError> {
        let requested = self
            .logprobs
            .as_ref()
            .is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)));
        if requested || self.top_logprobs.is_some_and(|count| count > 0) {
            return Err(ApiError::field(
                "logprobs",
                "log-probabilities are not supported; leave logprobs out",
            ));
        }
        if let Some(options) = &self.stream_options {
            if !self.is_stream() {
                let text = "expected stream_options with stream: true only";
                return Err(ApiError::field("stream_options", text));
            }
            refuse_unsupported_in("stream_options", &options.unsupported)?;
        }
        if let Some(format) = &self.response_format {
            format.check()?;
        }
        refuse_unsupported(&self.unsupported)
    }

    pub fn sampling(&self) -> Result<SamplingParams, ApiError> {
        let top_k = match self.top_k {
            None | Some(-1 | 0) => None,
            Some(k) => Some(
                usize::try_from(k)
                    .map_err(|_| ApiError::field("top_k", "expected 1 or more, or 0 for all"))?,
            ),
        };
        Ok(SamplingParams {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            top_k,
            // A random seed, so that equal requests without a seed get different replies.
            seed: self.seed.map_or_else(|| RandomState::new().hash_one(()), |seed| seed as u64),
        })
    }

    /// Most tokens that the reply may have; `default` if the request sets no limit.
    pub fn reply_tokens_max(&self, app: &AppState, default: usize) -> Result<usize, ApiError> {
        let limit = app.options.reply_tokens_max.unwrap_or(usize::MAX);
        let (name, requested) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(tokens), _) => ("max_completion_tokens", tokens),
            (None, Some(tokens)) => ("max_tokens", tokens),
            (None, None) => return Ok(default.min(limit)),
        };
        let requested = usize::try_from(requested).unwrap_or(usize::MAX);
        if requested == 0 {
            return Err(ApiError::field(name, format!("{name}: expected at least 1, found 0")));
        }
        if requested > limit {
            return Err(ApiError::field(
                name,
                format!("{name}: expected at most {limit}, the server's limit, found {requested}"),
            ));
        }
        Ok(requested)
    }

    pub fn stop_strings(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop],
            Some(OneOrMany::Many(stops)) => stops,
        };
        if stops.len() > STOP_STRINGS_MAX {
            return Err(ApiError::field(
                "stop",
                format!("expected at most {STOP_STRINGS_MAX} strings, found {}", stops.len()),
            ));
        }
        Ok(stops)
    }

    pub fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        let Some(format) = &self.response_format else { return Ok(None) };
        match format {
            ResponseFormat::Text { .. } => Ok(None),
            ResponseFormat::JsonObject { schema: None, .. } => Ok(Some(Constraint::JsonObject)),
            ResponseFormat::JsonObject { schema: Some(schema), .. }
            | ResponseFormat::JsonSchema {
                json_schema: NamedSchema { schema: Some(schema), .. },
                ..
            } => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            ResponseFormat::JsonSchema { .. } => Err(ApiError::field(
                "response_format",
                "json_schema: expected a member \"schema\", found none",
            )),
        }
    }

    pub fn is_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream ends with a chunk that has the token counts.
    pub fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }
}

impl ResponseFormat {
    /// Refuses members that this server does not read.
    fn check(&self) -> Result<(), ApiError> {
        let (ResponseFormat::Text { unsupported }
        | ResponseFormat::JsonObject { unsupported, .. }
        | ResponseFormat::JsonSchema { unsupported, .. }) = self;
        refuse_unsupported_in("response_format", unsupported)?;
        match self {
            ResponseFormat::JsonSchema { json_schema, .. } => {
                refuse_unsupported_in("response_format.json_schema", &json_schema.unsupported)
            }
            ResponseFormat::Text { .. } | ResponseFormat::JsonObject { .. } => Ok(()),
        }
    }
}
