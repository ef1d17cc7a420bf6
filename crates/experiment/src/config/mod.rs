//! Configurations, resolved and validated once at load: unknown keys are errors, every value has
//! the type and range of its key, and all cells are typed.
//!
//! A file may `inherit` another file. Later sources override earlier ones: the inherited file, the
//! file itself, the `fixed` sections, `--set` options. The section `grid` declares keys as factors:
//! it maps dotted keys to lists of levels.

mod cell;
mod design;
mod grid;
mod keys;
mod person;
mod predecessor;
mod schema;
mod select;
mod settings;
mod source;
mod study;
mod thinking;
mod value_kind;
pub(crate) mod yaml;

pub use cell::Cell;
pub(crate) use cell::{AgentConfig, AgentModelConfig, AgentPolicy, CellConfig};
pub(crate) use grid::scripted_info;
pub use grid::{GridCounts, PlannedRun};
pub(crate) use person::human_info;
pub use schema::config_schema;
pub use select::CellChoice;
pub(crate) use study::{ExecutionConfig, StudyConfig, UsageLimits};
pub(crate) use thinking::thinking_label;
pub(crate) use value_kind::{ValueKind, describe};

use crate::error::{ConfigProblem, ExperimentError, SourceLocation};
pub(crate) use keys::{KEYS, Key, Scope};
use results::ExperimentRecord;
use serde_json::Value;
use source::ConfigLayer;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Levels of one factor, in the order of the file.
type Levels = Vec<Value>;

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    file: String,
    values: BTreeMap<&'static str, Value>,
    grid: Vec<(&'static str, Levels)>,
    notes: Vec<String>,
    study: StudyConfig,
    execution: ExecutionConfig,
    /// One cell for each combination of levels.
    cells: Vec<Cell>,
}

/// Maximum number of files in a chain of inheritance.
const INHERITANCE_MAX: usize = 16;

impl Config {
    /// Loads a configuration file and the files that it inherits. `sets` are `key=value` settings
    /// of the command line.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value of the wrong type or out of its range,
    /// or settings that contradict each other.
    pub fn load(path: &Path, sets: &[String]) -> Result<Config, ExperimentError> {
        let mut layers = Vec::new();
        let (mut next, mut chain) = (Some(path.to_path_buf()), Vec::new());
        while let Some(path) = next {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            if chain.contains(&canonical) || chain.len() >= INHERITANCE_MAX {
                let chain = chain.iter().map(|path: &PathBuf| path.display().to_string()).collect();
                return Err(
                    ConfigProblem::Circle { file: path.display().to_string(), chain }.into()
                );
            }
            chain.push(canonical);
            let layer = read_layer(&path)?;
            next = layer
                .inherit
                .as_ref()
                .map(|(file, _)| path.parent().unwrap_or(Path::new(".")).join(file));
            layers.push((path.display().to_string(), layer));
        }
        layers.reverse();
        Ok(resolve(path.display().to_string(), layers, sets)?)
    }

    /// Parses the text of a configuration that inherits no file. Error messages call it `file`.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn parse(text: &str, file: &str, sets: &[String]) -> Result<Config, ExperimentError> {
        let layer = parse_layer(text, file)?;
        if let Some((inherited, at)) = &layer.inherit {
            let why = format!("a text without a folder cannot inherit {inherited} ({at})");
            return Err(ConfigProblem::Contradiction { key: "inherit".into(), why }.into());
        }
        Ok(resolve(file.to_string(), vec![(file.to_string(), layer)], sets)?)
    }

    /// The configuration of a study's folder. Factors are in the order of their names, so that runs
    /// have the same ids and perhaps another order.
    ///
    /// # Errors
    /// A key or a value that this version does not know.
    pub(crate) fn of_record(record: &ExperimentRecord) -> Result<Config, ConfigProblem> {
        let stored = record.configuration.iter().chain(&record.execution);
        let (mut layer, file) = (ConfigLayer::default(), "experiment.json");
        // Folders of design v1 do not name it in their configuration.
        for (name, value) in stored.filter(|(name, _)| *name != design::DESIGN_KEY) {
            layer.set(&format!("{name}={value}"))?;
        }
        layer.set(&format!("{}={}", design::DESIGN_KEY, record.provenance.design))?;
        // Reading makes 0.0 of a default that is stored as 0, which would be another run id.
        for (key, value) in &mut layer.plain {
            let stored = record.configuration.get(*key).or_else(|| record.execution.get(*key));
            if let Some(stored) = stored {
                value.clone_from(stored);
            }
        }
        for (key, levels) in &mut layer.grid {
            if let Some(Value::Array(stored)) = record.configuration.get(&format!("grid.{key}")) {
                levels.clone_from(stored);
            }
        }
        resolve(file.to_string(), vec![(file.to_string(), layer)], &[])
    }

    /// This configuration with other values and other levels of its factors.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub(crate) fn with(
        &self,
        values: &[(&'static str, Value)],
        factors: &[(&'static str, Vec<Value>)],
    ) -> Result<Config, ConfigProblem> {
        let mut changed = self.clone();
        changed.values.extend(values.iter().cloned());
        for (key, levels) in &mut changed.grid {
            if let Some((_, other)) = factors.iter().find(|(factor, _)| factor == key) {
                levels.clone_from(other);
            }
        }
        changed.study = StudyConfig::read(&changed.values)?;
        changed.cells = grid::resolve_cells(changed.cell_values(), &changed.grid)?;
        changed.study.check_levels(changed.cells.iter().map(Cell::values))?;
        Ok(changed)
    }

    /// Path of the loaded file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value of every key outside the grid: the configured value, or the default.
    pub fn values(&self) -> &BTreeMap<&'static str, Value> {
        &self.values
    }

    /// Factors and their levels, in the order of the file. In a cell, the level of a factor
    /// replaces its key's value in `values`.
    pub fn grid(&self) -> &[(&'static str, Vec<Value>)] {
        &self.grid
    }

    /// Notes for the user about keys that were renamed or have no effect.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// One cell for each combination of levels; the last factor changes fastest. Combinations with
    /// the same effective configuration yield equal cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(crate) fn study(&self) -> &StudyConfig {
        &self.study
    }

    /// Why flags that change replies are refused; `None` unless a server computes the replies.
    pub fn server_decides(&self) -> Option<&'static str> {
        self.execution.server.as_ref().map(|_| study::SERVER_DECIDES)
    }

    pub(crate) fn execution(&self) -> &ExecutionConfig {
        &self.execution
    }

    /// The settings that identify the study: values by dotted key, and levels by `grid.<key>`.
    /// Execution keys are not part of them.
    pub fn identity(&self) -> BTreeMap<String, Value> {
        let v1 = self.design() == warehouse::Design::V1.label();
        // Later keys of the study are recorded where they are set, so that folders of earlier
        // versions can be resumed.
        let later = |key: &str| {
            design::is_recorded_if_set(key) || v1 && design::STUDY_SINCE_V2.contains(&key)
        };
        let identifying = |key: &&keys::Key| {
            let recorded = match later(key.name) {
                true => self.values[key.name] != key.default_value(),
                false => !v1 || design::is_v1_key(key.name),
            };
            recorded && key.scope != Scope::Execution && key.name != "experiment.description"
        };
        let mut identity: BTreeMap<String, Value> = KEYS
            .iter()
            .filter(identifying)
            .map(|key| (key.name.to_string(), self.values[key.name].clone()))
            .collect();
        for (key, levels) in &self.grid {
            identity.remove(*key);
            identity.insert(format!("grid.{key}"), Value::Array(levels.clone()));
        }
        identity
    }

    /// The values of the execution keys, for the stored record of the experiment.
    pub fn execution_values(&self) -> BTreeMap<String, Value> {
        let keys = KEYS.iter().filter(|key| key.scope == Scope::Execution);
        keys.map(|key| (key.name.to_string(), self.values[key.name].clone())).collect()
    }

    /// The values of the cell keys outside the grid.
    fn cell_values(&self) -> cell::CellValues {
        cell_values(&self.values)
    }

    /// The experiment's name, which is also the name of its folder.
    pub fn name(&self) -> &str {
        &self.study.name
    }

    /// The study's seed.
    pub fn seed(&self) -> u64 {
        self.study.seed
    }

    /// Path of the experiment's folder, within `out` or else within the configured output folder.
    pub fn folder(&self, out: Option<&Path>) -> PathBuf {
        out.unwrap_or(&self.execution.output_dir).join(self.name())
    }

    /// Names of the factors.
    pub fn factors(&self) -> Vec<String> {
        self.grid.iter().map(|(key, _)| key.to_string()).collect()
    }
}

/// Help for every key: name, accepted values, default, description.
pub fn describe_keys() -> Vec<[String; 4]> {
    let describe = |key: &keys::Key| {
        [key.name.into(), key.kind.expected(), key.default.into(), key.about.into()]
    };
    KEYS.iter().map(describe).collect()
}

fn read_layer(path: &Path) -> Result<ConfigLayer, ExperimentError> {
    let unreadable = |source| ExperimentError::Unreadable {
        what: "the configuration",
        path: path.to_path_buf(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(parse_layer(&text, &path.display().to_string())?)
}

fn parse_layer(text: &str, file: &str) -> Result<ConfigLayer, ConfigProblem> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(ConfigLayer::default());
    }
    let root = yaml::parse(text).map_err(|error| ConfigProblem::NotYaml {
        at: SourceLocation { file: file.to_string(), line: error.line.unwrap_or(0) },
        message: error.message,
    })?;
    ConfigLayer::read(&root, file)
}

/// Merges the layers, where later layers override earlier ones and `sets` override all layers; then
/// reads the typed settings and validates them.
fn resolve(
    file: String,
    layers: Vec<(String, ConfigLayer)>,
    sets: &[String],
) -> Result<Config, ConfigProblem> {
    let mut values: BTreeMap<&'static str, Value> =
        KEYS.iter().map(|key| (key.name, key.default_value())).collect();
    let mut fixed: BTreeMap<&'static str, Value> = BTreeMap::new();
    let mut given: BTreeSet<&'static str> = BTreeSet::new();
    let (mut grid, mut notes): (Vec<(&'static str, Levels)>, Vec<String>) =
        (Vec::new(), Vec::new());
    for (file, layer) in layers {
        if let Some((key, _)) = layer.grid.iter().find(|(key, _)| layer.fixed.contains_key(key)) {
            return Err(ConfigProblem::VariedAndFixed { file, key: key.to_string() });
        }
        // A key that a later file fixes is no longer a factor, and a key that a later file varies
        // is no longer fixed.
        grid.retain(|(key, _)| !layer.fixed.contains_key(key));
        fixed.retain(|key, _| !layer.grid.iter().any(|(varied, _)| varied == key));
        given.extend(layer.plain.keys().chain(layer.fixed.keys()).copied());
        values.extend(layer.plain);
        fixed.extend(layer.fixed);
        override_factors(&mut grid, layer.grid);
        notes.extend(layer.notes);
    }
    values.extend(fixed);
    for text in sets {
        let mut layer = ConfigLayer::default();
        layer.set(text)?;
        grid.retain(|(key, _)| !layer.plain.contains_key(key));
        given.extend(layer.plain.keys().copied());
        values.extend(layer.plain);
        override_factors(&mut grid, layer.grid);
        notes.extend(layer.notes);
    }
    check_design(&mut values, &given, &grid, &mut notes)?;
    let (study, execution) = (StudyConfig::read(&values)?, ExecutionConfig::read(&values)?);
    let cells = grid::resolve_cells(cell_values(&values), &grid)?;
    study.check_levels(cells.iter().map(Cell::values))?;
    Ok(Config { file, values, grid, notes, study, execution, cells })
}

/// Sets the defaults of the design, and fails if it is a factor: rows of two designs cannot be
/// compared.
fn check_design(
    values: &mut BTreeMap<&'static str, Value>,
    given: &BTreeSet<&'static str>,
    grid: &[(&'static str, Levels)],
    notes: &mut Vec<String>,
) -> Result<(), ConfigProblem> {
    let varied = |key: &str| grid.iter().any(|(name, _)| *name == key);
    if varied(design::DESIGN_KEY) {
        let why = "rows of two designs cannot be compared: run each in an experiment of its own";
        let key = design::DESIGN_KEY.into();
        return Err(ConfigProblem::Contradiction { key, why: why.into() });
    }
    if design::design_of(values) == warehouse::Design::V1 {
        let later = design::SINCE_V2.iter().filter(|key| **key != design::DESIGN_KEY);
        for key in later.filter(|key| given.contains(*key) || varied(key)) {
            notes.push(format!("{key} has no effect in design v1"));
        }
        for (key, default) in design::v1_defaults() {
            if !given.contains(key) {
                values.insert(key, default);
            }
        }
    } else if given.contains("demand.max_failures") || varied("demand.max_failures") {
        notes.push(
            "demand.max_failures has no effect in design v2, where demand.max_lost_share ends a run; \
             experiment.design: v1 is the design of earlier versions"
                .into(),
        );
    }
    Ok(())
}

/// Replaces the levels of factors that `later` declares too, without changing their position, and
/// appends the other factors of `later`.
fn override_factors(grid: &mut Vec<(&'static str, Levels)>, later: Vec<(&'static str, Levels)>) {
    for (key, levels) in later {
        match grid.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = levels,
            None => grid.push((key, levels)),
        }
    }
}

fn cell_values(values: &BTreeMap<&'static str, Value>) -> cell::CellValues {
    let keys = KEYS.iter().filter(|key| key.scope == Scope::Cell);
    keys.map(|key| (key.name, values[key.name].clone())).collect()
}
