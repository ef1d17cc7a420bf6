//! A configuration, resolved once and strictly: unknown keys are errors, every value has its type
//! and range.
//!
//! A file may `inherit` another; sources override each other in this order: the inherited file, the
//! file, its `fixed` section, `--set`. `grid` makes factors of keys: dotted name -> list of levels.

mod grid;
mod keys;
mod layer;
mod predecessor;
mod value_kind;
mod world;
mod yaml;

pub use grid::{Cell, GridCounts, PlannedRun};
pub(crate) use grid::{name_info, scripted_info};
pub(crate) use world::world_config;

use crate::error::{ConfigProblem, ExperimentError, SourceLocation};
use keys::{KEYS, Scope};
use layer::Layer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it came from.
    pub file: String,
    /// Every key there is, with its value: the file's, or the default.
    pub values: BTreeMap<&'static str, Value>,
    /// Factors and their levels, in the file's order. A factor overrides its key in `values`.
    pub grid: Vec<(&'static str, Vec<Value>)>,
    /// Keys that changed name or have no effect, for people.
    pub notes: Vec<String>,
}

/// Files that may inherit each other in a row.
const INHERITANCE_MAX: usize = 16;

impl Config {
    /// Reads a file, what it inherits, and the `key=value` of the command line.
    pub fn load(path: &Path, sets: &[String]) -> Result<Config, ExperimentError> {
        let mut layers = Vec::new();
        let (mut next, mut chain) = (Some(path.to_path_buf()), Vec::new());
        while let Some(path) = next {
            let same = path.canonicalize().unwrap_or_else(|_| path.clone());
            if chain.contains(&same) || chain.len() >= INHERITANCE_MAX {
                let chain = chain.iter().map(|path: &PathBuf| path.display().to_string()).collect();
                return Err(
                    ConfigProblem::Circle { file: path.display().to_string(), chain }.into()
                );
            }
            chain.push(same);
            let layer = read(&path)?;
            next = layer
                .inherit
                .as_ref()
                .map(|(file, _)| path.parent().unwrap_or(Path::new(".")).join(file));
            layers.push((path.display().to_string(), layer));
        }
        layers.reverse();
        Ok(resolve(path.display().to_string(), layers, sets)?)
    }

    /// From a text that inherits nothing; `file` is for messages.
    pub fn parse(text: &str, file: &str, sets: &[String]) -> Result<Config, ExperimentError> {
        let layer = parse_layer(text, file)?;
        if let Some((inherited, place)) = &layer.inherit {
            let why = format!("a text without a folder cannot inherit {inherited} ({place})");
            return Err(ConfigProblem::Contradiction { key: "inherit".into(), why }.into());
        }
        Ok(resolve(file.to_string(), vec![(file.to_string(), layer)], sets)?)
    }

    /// What decides which results these are: dotted key -> value, `grid.<key>` -> levels. Leaves
    /// out how it is carried out.
    pub fn identity(&self) -> BTreeMap<String, Value> {
        let study = |key: &&keys::Key| {
            key.scope != Scope::Execution && key.name != "experiment.description"
        };
        let mut identity: BTreeMap<String, Value> = KEYS
            .iter()
            .filter(study)
            .map(|key| (key.name.to_string(), self.values[key.name].clone()))
            .collect();
        for (key, levels) in &self.grid {
            identity.remove(*key);
            identity.insert(format!("grid.{key}"), Value::Array(levels.clone()));
        }
        identity
    }

    /// How it is carried out: changes no row.
    pub fn execution(&self) -> BTreeMap<String, Value> {
        let keys = KEYS.iter().filter(|key| key.scope == Scope::Execution);
        keys.map(|key| (key.name.to_string(), self.values[key.name].clone())).collect()
    }

    /// The keys of a run, with their values outside of the grid.
    pub(crate) fn cell_values(&self) -> BTreeMap<&'static str, Value> {
        let keys = KEYS.iter().filter(|key| key.scope == Scope::Cell);
        keys.map(|key| (key.name, self.values[key.name].clone())).collect()
    }

    /// The experiment's name; it names its folder.
    pub fn name(&self) -> &str {
        self.text("experiment.name")
    }

    /// Where the experiment's folder goes.
    pub fn folder(&self, out: Option<&Path>) -> PathBuf {
        out.unwrap_or(Path::new(self.text("experiment.output_dir"))).join(self.name())
    }

    /// Names of the factors.
    pub fn factors(&self) -> Vec<String> {
        self.grid.iter().map(|(key, _)| key.to_string()).collect()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn whole(&self, key: &str) -> u64 {
        self.values.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.values.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// One line of help for every key: name, what may stand there, default, what it is about.
pub fn describe_keys() -> Vec<[String; 4]> {
    let words = |key: &keys::Key| {
        [key.name.into(), key.kind.expected(), key.default.into(), key.about.into()]
    };
    KEYS.iter().map(words).collect()
}

fn read(path: &Path) -> Result<Layer, ExperimentError> {
    let unreadable = |source| ExperimentError::Unreadable {
        what: "the configuration",
        path: path.to_path_buf(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(parse_layer(&text, &path.display().to_string())?)
}

fn parse_layer(text: &str, file: &str) -> Result<Layer, ConfigProblem> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Layer::default());
    }
    let root = yaml::parse(text).map_err(|error| ConfigProblem::NotYaml {
        place: SourceLocation { file: file.to_string(), line: error.line.unwrap_or(0) },
        words: error.words,
    })?;
    Layer::read(&root, file)
}

fn resolve(
    file: String,
    layers: Vec<(String, Layer)>,
    sets: &[String],
) -> Result<Config, ConfigProblem> {
    let mut values: BTreeMap<&'static str, Value> =
        KEYS.iter().map(|key| (key.name, key.default_value())).collect();
    let mut fixed: BTreeMap<&'static str, Value> = BTreeMap::new();
    let (mut grid, mut notes): (Vec<(&'static str, Vec<Value>)>, Vec<String>) =
        (Vec::new(), Vec::new());
    for (file, layer) in layers {
        if let Some((key, _)) = layer.grid.iter().find(|(key, _)| layer.fixed.contains_key(key)) {
            return Err(ConfigProblem::VariedAndFixed { file, key: key.to_string() });
        }
        // What a file fixes is no factor any more, and what it varies is fixed no more.
        grid.retain(|(key, _)| !layer.fixed.contains_key(key));
        fixed.retain(|key, _| !layer.grid.iter().any(|(varied, _)| varied == key));
        values.extend(layer.plain);
        fixed.extend(layer.fixed);
        vary(&mut grid, layer.grid);
        notes.extend(layer.notes);
    }
    values.extend(fixed);
    for text in sets {
        let mut layer = Layer::default();
        layer.set(text)?;
        grid.retain(|(key, _)| !layer.plain.contains_key(key));
        values.extend(layer.plain);
        vary(&mut grid, layer.grid);
        notes.extend(layer.notes);
    }
    check_name(&values)?;
    Ok(Config { file, values, grid, notes })
}

/// Factors of a later source replace those of an earlier one, in place.
fn vary(grid: &mut Vec<(&'static str, Vec<Value>)>, later: Vec<(&'static str, Vec<Value>)>) {
    for (key, levels) in later {
        match grid.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = levels,
            None => grid.push((key, levels)),
        }
    }
}

/// The name becomes a folder: it must stay inside the one where results go.
fn check_name(values: &BTreeMap<&'static str, Value>) -> Result<(), ConfigProblem> {
    let name = values.get("experiment.name").and_then(Value::as_str).unwrap_or("");
    let harmless = |c: char| c.is_alphanumeric() || "._- ".contains(c);
    if name.chars().all(harmless) && !name.starts_with('.') && name.len() <= 200 {
        return Ok(());
    }
    let why = format!(
        "{name:?} names a folder: expected letters, digits, '.', '_', '-' and spaces, not beginning with '.'"
    );
    Err(ConfigProblem::Contradiction { key: "experiment.name".into(), why })
}
