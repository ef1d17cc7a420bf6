//! Typed settings that are not part of a cell: those that identify the study, and those that
//! control the execution of its runs.

use super::settings::Settings;
use super::thinking::thinking_label;
use crate::error::ConfigProblem;
use crate::provider::ServerSettings;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings that identify a study together with its cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StudyConfig {
    pub name: String,
    /// Number of worlds of each cell.
    pub replications: u64,
    /// Other numbers of worlds, of cells with a level of a key.
    pub replications_by: Vec<LevelCount>,
    /// Number of runs of each cell in each world.
    pub draws: u64,
    pub seed: u64,
    /// Whether all cells have the same world seed in the same replicate.
    pub paired: bool,
}

/// Settings that control the execution of runs and affect no row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExecutionConfig {
    pub output_dir: PathBuf,
    pub compress_logs: bool,
    /// Number of further attempts at a failed run, within one command.
    pub retries: u64,
    pub limits: UsageLimits,
    /// Time limit of one reply in seconds, over all attempts.
    pub reply_deadline_s: f64,
    pub dtype: String,
    pub kv_dtype: String,
    pub prompt_lookup: bool,
    pub chat_template: Option<String>,
    pub device_map: Option<String>,
    pub max_memory: Option<String>,
    /// `None` if models are loaded in this process.
    pub server: Option<ServerSettings>,
}

/// Limits on the usage of a command (`tokens`, `hours`, `failures`) and of a single run (`run_*`);
/// `None` means unlimited. Tokens are those of prompts, cached or not, and of replies.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct UsageLimits {
    pub tokens: Option<u64>,
    pub hours: Option<f64>,
    pub failures: Option<u64>,
    pub run_tokens: Option<u64>,
    pub run_hours: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProviderKind {
    Engine,
    OpenAi,
}

impl StudyConfig {
    pub fn read(values: &BTreeMap<&'static str, Value>) -> Result<StudyConfig, ConfigProblem> {
        let settings = Settings::new(values);
        let name: String = settings.get("experiment.name")?;
        check_name(&name)?;
        Ok(StudyConfig {
            name,
            replications: settings.get("experiment.replications")?,
            replications_by: replications_by(settings.get("experiment.replications_by")?),
            draws: settings.get("experiment.draws")?,
            seed: settings.get("experiment.seed")?,
            paired: settings.get("experiment.paired")?,
        })
    }
}

/// An entry of `experiment.replications_by`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LevelCount {
    pub key: String,
    /// The level as text: the keys of mappings are texts, whatever YAML wrote.
    pub level: String,
    pub count: u64,
}

impl LevelCount {
    /// Whether a cell with these values has the level.
    fn matches(&self, values: &BTreeMap<&'static str, Value>) -> bool {
        if let Some(level) = thinking_label(&self.key, values) {
            return level == self.level;
        }
        let Some(value) = values.get(self.key.as_str()) else { return false };
        match value {
            Value::String(text) => *text == self.level,
            Value::Number(number) => number.as_f64() == self.level.parse().ok(),
            Value::Bool(flag) => self.level == if *flag { "true" } else { "false" },
            _ => self.level == "null",
        }
    }
}

fn replications_by(by_key: Map<String, Value>) -> Vec<LevelCount> {
    let entries = by_key.iter().flat_map(|(key, counts)| {
        let counts = counts.as_object().into_iter().flatten();
        counts.filter_map(move |(level, count)| {
            Some(LevelCount { key: key.clone(), level: level.clone(), count: count.as_u64()? })
        })
    });
    entries.collect()
}

impl StudyConfig {
    /// Number of worlds of a cell with these values: of all levels that it has in
    /// `experiment.replications_by` the largest number.
    pub fn replications_of(&self, values: &BTreeMap<&'static str, Value>) -> u64 {
        let listed = self.replications_by.iter().filter(|entry| entry.matches(values));
        listed.map(|entry| entry.count).max().unwrap_or(self.replications)
    }

    /// Fails if a level in `experiment.replications_by` is that of no cell.
    pub fn check_levels<'a>(
        &self,
        cells: impl Iterator<Item = &'a BTreeMap<&'static str, Value>> + Clone,
    ) -> Result<(), ConfigProblem> {
        let of_no_cell = |entry: &&LevelCount| !cells.clone().any(|values| entry.matches(values));
        match self.replications_by.iter().find(of_no_cell) {
            None => Ok(()),
            Some(LevelCount { key, level, .. }) => Err(ConfigProblem::Contradiction {
                key: "experiment.replications_by".into(),
                why: format!(
                    "no cell has {key}: {level}; expected a level of the grid or the configured value"
                ),
            }),
        }
    }
}

/// Fails if the name cannot be a folder within the output folder.
fn check_name(name: &str) -> Result<(), ConfigProblem> {
    let allowed = |c: char| c.is_alphanumeric() || "._- ".contains(c);
    if name.chars().all(allowed) && !name.starts_with('.') && name.len() <= 200 {
        return Ok(());
    }
    let why = format!(
        "{name:?} names a folder: expected letters, digits, '.', '_', '-' and spaces, not beginning with '.'"
    );
    Err(ConfigProblem::Contradiction { key: "experiment.name".into(), why })
}

impl ExecutionConfig {
    pub fn read(values: &BTreeMap<&'static str, Value>) -> Result<ExecutionConfig, ConfigProblem> {
        let settings = Settings::new(values);
        Ok(ExecutionConfig {
            output_dir: settings.get("experiment.output_dir")?,
            compress_logs: settings.get("experiment.compress_logs")?,
            retries: settings.get("experiment.retries")?,
            limits: UsageLimits {
                tokens: settings.get("limits.tokens")?,
                hours: settings.get("limits.hours")?,
                failures: settings.get("limits.failures")?,
                run_tokens: settings.get("limits.run_tokens")?,
                run_hours: settings.get("limits.run_hours")?,
            },
            reply_deadline_s: settings.get("model.reply_deadline_s")?,
            dtype: settings.get("model.dtype")?,
            kv_dtype: settings.get("model.kv_dtype")?,
            prompt_lookup: settings.get("model.prompt_lookup")?,
            chat_template: settings.get("model.chat_template")?,
            device_map: settings.get("model.device_map")?,
            max_memory: settings.get("model.max_memory")?,
            server: server(&settings)?,
        })
    }
}

/// Why a setting that changes replies is refused if a server computes them.
pub(super) const SERVER_DECIDES: &str = "provider.kind is openai, and the server decides this; \
    configure the server, and leave this out";

/// Settings of the server; `None` if models are loaded in this process. The provider `openai`
/// requires a server address, and the provider `engine` allows none.
fn server(settings: &Settings<'_>) -> Result<Option<ServerSettings>, ConfigProblem> {
    let kind: ProviderKind = settings.get("provider.kind")?;
    let url: Option<String> = settings.get("provider.base_url")?;
    let contradiction = |why: &str| {
        Err(ConfigProblem::Contradiction { key: "provider.base_url".into(), why: why.into() })
    };
    let base_url = match (kind, url.unwrap_or_default()) {
        (ProviderKind::Engine, url) if url.is_empty() => return Ok(None),
        (ProviderKind::Engine, _) => {
            return contradiction(
                "an address is given, and provider.kind is engine: set it to openai, or remove one",
            );
        }
        (ProviderKind::OpenAi, url) if url.is_empty() => {
            return contradiction(
                "provider.kind is openai: expected the server's address, such as http://localhost:8000/v1",
            );
        }
        (ProviderKind::OpenAi, url) => url,
    };
    for (key, is_set) in [
        ("model.chat_template", settings.get::<Option<String>>("model.chat_template")?.is_some()),
        ("model.kv_dtype", settings.get::<String>("model.kv_dtype")? != "auto"),
    ] {
        if is_set {
            return Err(ConfigProblem::Contradiction {
                key: key.into(),
                why: SERVER_DECIDES.into(),
            });
        }
    }
    if !["http://", "https://"].iter().any(|scheme| base_url.starts_with(scheme)) {
        return contradiction("expected an address that begins with http:// or https://");
    }
    Ok(Some(ServerSettings {
        base_url,
        api_key_env: settings.get("provider.api_key_env")?,
        retries: settings.get("provider.retries")?,
        requests_per_minute: settings.get("provider.requests_per_minute")?,
        tokens_per_minute: settings.get("provider.tokens_per_minute")?,
        connect_timeout_s: settings.get("provider.connect_timeout_s")?,
        attempt_timeout_s: settings.get("provider.attempt_timeout_s")?,
    }))
}
