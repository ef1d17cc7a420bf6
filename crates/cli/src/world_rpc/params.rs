//! Parameters of requests. Unknown names and wrong types are refused.

use crate::rpc::{RpcError, code};
use experiment::{CellChoice, ExternalRunChoice, Finish};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads the parameters of a request.
///
/// # Errors
/// A parameter is unknown, missing or of the wrong type.
pub fn read<T: DeserializeOwned>(params: Map<String, Value>) -> Result<T, RpcError> {
    serde_path_to_error::deserialize(Value::Object(params)).map_err(|error| {
        // The path is "." for errors of the parameters as a whole.
        let path = error.path().to_string();
        let name = if path == "." { "params" } else { path.as_str() };
        RpcError::new(code::INVALID_PARAMS, format!("{name}: {}", error.inner()))
    })
}

/// Fails if there are parameters.
///
/// # Errors
/// There is one.
pub fn none(params: &Map<String, Value>) -> Result<(), RpcError> {
    match params.keys().next() {
        Some(name) => {
            let text = format!("params: expected none, found {name:?}");
            Err(RpcError::new(code::INVALID_PARAMS, text))
        }
        None => Ok(()),
    }
}

/// Which cell is meant.
#[derive(Default)]
pub struct CellParams {
    cell: Option<usize>,
    levels: BTreeMap<String, Value>,
}

impl CellParams {
    pub fn choice(self) -> CellChoice {
        CellChoice { number: self.cell, levels: self.levels }
    }
}

/// Parameters of `initialize` and `describe`.
#[derive(Deserialize)]
#[serde(from = "DescribeRequest")]
pub struct DescribeParams {
    pub config: Option<PathBuf>,
    pub sets: Option<Vec<String>>,
    pub cell: CellParams,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeRequest {
    config: Option<PathBuf>,
    sets: Option<Vec<String>>,
    cell: Option<usize>,
    #[serde(default)]
    levels: BTreeMap<String, Value>,
}

impl From<DescribeRequest> for DescribeParams {
    fn from(DescribeRequest { config, sets, cell, levels }: DescribeRequest) -> Self {
        DescribeParams { config, sets, cell: CellParams { cell, levels } }
    }
}

/// Parameters of `reset`.
pub struct ResetParams {
    pub config: Option<PathBuf>,
    pub sets: Option<Vec<String>>,
    pub rows: bool,
    pub choice: ExternalRunChoice,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    config: Option<PathBuf>,
    sets: Option<Vec<String>>,
    cell: Option<usize>,
    #[serde(default)]
    levels: BTreeMap<String, Value>,
    replicate: Option<u64>,
    seed: Option<u64>,
    run_id: Option<String>,
    #[serde(default)]
    rows: bool,
}

impl ResetParams {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// As for [`read`], and if both seed and replicate are given.
    pub fn read(params: Map<String, Value>) -> Result<Self, RpcError> {
        let ResetRequest { config, sets, cell, levels, replicate, seed, run_id, rows } =
            read(params)?;
        if seed.is_some() && replicate.is_some() {
            let text = "params: expected seed or replicate, found both";
            return Err(RpcError::new(code::INVALID_PARAMS, text));
        }
        let choice = ExternalRunChoice {
            cell: CellChoice { number: cell, levels },
            replicate: replicate.unwrap_or(0),
            seed,
            run_id,
        };
        Ok(ResetParams { config, sets, rows, choice })
    }
}

/// Parameters of `step`: an action, or the text of a reply.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepParams {
    tool: Option<String>,
    arguments: Option<Map<String, Value>>,
    card: Option<Value>,
    reply: Option<String>,
    finish: Option<String>,
}

impl StepParams {
    /// The reply that a model would have written, and why it ended.
    ///
    /// # Errors
    /// Neither an action nor a reply is given, or both are.
    pub fn reply(self) -> Result<(String, Finish), RpcError> {
        let invalid = |text: &str| Err(RpcError::new(code::INVALID_PARAMS, text));
        let finish = match self.finish.as_deref() {
            None | Some("stop") => Finish::Stop,
            Some("length") => Finish::Length,
            Some(other) => {
                return invalid(&format!("finish: expected stop or length, found {other:?}"));
            }
        };
        match (self.tool, self.reply) {
            (Some(tool), None) => {
                let arguments = self.arguments.unwrap_or_default();
                let action = json!({"tool": tool, "arguments": arguments, "card": self.card});
                Ok((action.to_string(), finish))
            }
            (None, Some(reply)) if self.arguments.is_none() && self.card.is_none() => {
                Ok((reply, finish))
            }
            (None, None) => invalid("params: expected tool (with arguments and card), or reply"),
            _ => {
                invalid("params: expected an action (tool, arguments, card) or a reply, found both")
            }
        }
    }
}
