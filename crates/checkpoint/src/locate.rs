use crate::CheckpointError;
use std::path::{Path, PathBuf};

/// Short names for models, and the hub names they stand for.
const ALIASES: [(&str, &str); 13] = [
    ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    ("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
    ("deepseek-llm-7b", "deepseek-ai/deepseek-llm-7b-chat"),
    ("qwen2.5-72b", "Qwen/Qwen2.5-72B-Instruct"),
    ("qwen3-32b", "Qwen/Qwen3-32B"),
    ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
    ("olmo-2-13b", "allenai/OLMo-2-1124-13B-Instruct"),
    ("gpt-oss-20b", "openai/gpt-oss-20b"),
    ("deepseek-v2.5", "deepseek-ai/DeepSeek-V2.5"),
    ("phi-2", "microsoft/phi-2"),
];

/// Where models are looked for, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// Folders in the hub's layout (`models--org--name/snapshots`).
    pub hub_caches: Vec<PathBuf>,
    /// Folders with one folder a model (`org--name`).
    pub model_folders: Vec<PathBuf>,
}

impl SearchPaths {
    /// As the environment says: `HF_HUB_CACHE`, `HF_HOME`, `~/.cache/huggingface`; `VENDOMINI_CACHE`, `~/.cache/vendomini`.
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        let hf_home = var("HF_HOME").or_else(|| cache.as_ref().map(|c| c.join("huggingface")));
        let hub = var("HF_HUB_CACHE").or_else(|| hf_home.map(|home| home.join("hub")));
        let own = var("VENDOMINI_CACHE").or_else(|| cache.map(|c| c.join("vendomini"))).map(|c| c.join("models"));
        SearchPaths { hub_caches: hub.into_iter().collect(), model_folders: own.into_iter().collect() }
    }
}

/// The hub name that an alias stands for; any other name is returned as it is.
pub fn hub_name(model: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(model)).map_or(model, |(_, name)| name)
}

/// Finds a model: a folder, a `.gguf` file, a hub name in a cache, or an alias.
///
/// # Errors
/// 66 with every place that was looked at.
pub fn locate(model: &str, search: &SearchPaths) -> Result<PathBuf, CheckpointError> {
    let direct = Path::new(model);
    if direct.is_dir() || direct.is_file() {
        return Ok(direct.to_owned());
    }
    let mut looked_in = vec![direct.to_owned()];
    let name = hub_name(model).replace('/', "--");
    if is_plain(&name) {
        for hub in &search.hub_caches {
            let folder = hub.join(format!("models--{name}"));
            match snapshot(&folder) {
                Some(found) => return Ok(found),
                None => looked_in.push(folder),
            }
        }
        for models in &search.model_folders {
            let folder = models.join(&name);
            match usable(&folder) {
                Some(found) => return Ok(found),
                None => looked_in.push(folder),
            }
        }
    }
    let remedy = format!("Give a folder or .gguf file, or bring it with `vendomini fetch {model}`");
    Err(CheckpointError::NotFound { what: format!("model {model}"), looked_in, remedy })
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    if let Ok(revision) = std::fs::read_to_string(folder.join("refs/main")) {
        let found = usable(&snapshots.join(revision.trim()));
        if found.is_some() {
            return found;
        }
    }
    let mut all: Vec<PathBuf> = std::fs::read_dir(snapshots).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    all.sort();
    all.iter().find_map(|folder| usable(folder))
}

/// A folder with a configuration, or the one GGUF file in it.
fn usable(folder: &Path) -> Option<PathBuf> {
    if folder.join("config.json").exists() {
        return Some(folder.to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "gguf"));
    files.sort();
    files.into_iter().next()
}
