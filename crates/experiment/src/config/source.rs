//! One source of settings (a file or a `--set` option), flattened to dotted keys and checked
//! against the key table.

use super::Levels;
use super::keys::{self, KEYS, Key, Scope};
use super::predecessor::{self, KeyMapping};
use super::value_kind::{ValueKind, describe};
use super::yaml::{YamlEntry, YamlNode, YamlValue};
use crate::error::{ConfigProblem, SourceLocation};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The checked settings of one source.
#[derive(Debug, Default)]
pub(crate) struct ConfigLayer {
    pub inherit: Option<(String, SourceLocation)>,
    pub plain: BTreeMap<&'static str, Value>,
    pub fixed: BTreeMap<&'static str, Value>,
    /// Factors and their levels, in the order of the file.
    pub grid: Vec<(&'static str, Levels)>,
    pub notes: Vec<String>,
    /// Whether the file has the predecessor's `shock_config.enabled: false`, which overrides the
    /// file's `pe_induction.p_shock` once all keys are read.
    shocks_off: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum ConfigSection {
    Plain,
    Fixed,
    Grid,
}

impl ConfigLayer {
    /// Reads the settings of a parsed file.
    pub fn read(root: &YamlNode, file: &str) -> Result<ConfigLayer, ConfigProblem> {
        let mut layer = ConfigLayer::default();
        match &root.tree {
            YamlValue::Map(entries) => {
                layer.read_section(entries, "", ConfigSection::Plain, file)?
            }
            YamlValue::Scalar(Value::Null) => {}
            _ => {
                return Err(ConfigProblem::WrongType {
                    at: SourceLocation { file: file.into(), line: root.line },
                    key: "the document".into(),
                    expected: "a mapping".into(),
                    found: describe(&root.value()),
                });
            }
        }
        if std::mem::take(&mut layer.shocks_off) {
            layer.plain.insert("pe_induction.p_shock", Value::from(0.0));
        }
        Ok(layer)
    }

    /// Adds one `key=value` setting of the command line.
    pub fn set(&mut self, text: &str) -> Result<(), ConfigProblem> {
        let at = || SourceLocation { file: format!("--set {text}"), line: 0 };
        let (name, value) =
            text.split_once('=').ok_or_else(|| ConfigProblem::BadSet { text: text.to_string() })?;
        let value = super::yaml::parse(value)
            .map_err(|error| ConfigProblem::NotYaml { at: at(), message: error.message })?;
        let (name, section) = match name.trim().strip_prefix("grid.") {
            Some(name) => (name, ConfigSection::Grid),
            None => (name.trim(), ConfigSection::Plain),
        };
        self.read_key(name, &value, section, at())
    }

    fn read_section(
        &mut self,
        entries: &[YamlEntry],
        prefix: &str,
        section: ConfigSection,
        file: &str,
    ) -> Result<(), ConfigProblem> {
        for entry in entries {
            let at = SourceLocation { file: file.to_string(), line: entry.line };
            let name = if prefix.is_empty() {
                entry.key.clone()
            } else {
                format!("{prefix}.{}", entry.key)
            };
            let inner = match (prefix, entry.key.as_str()) {
                ("", "inherit") if section == ConfigSection::Plain => {
                    self.inherit = Some((file_name(&entry.value, &at)?, at));
                    continue;
                }
                ("", "grid") if section == ConfigSection::Plain => Some(("", ConfigSection::Grid)),
                ("", "fixed") if section == ConfigSection::Plain => {
                    Some(("", ConfigSection::Fixed))
                }
                // The name of an ignored section counts as a section only if its value is a
                // mapping.
                _ if (matches!(entry.value.tree, YamlValue::Map(_)) || !is_ignored(&name))
                    && is_section(&name) =>
                {
                    Some((name.as_str(), section))
                }
                _ => None,
            };
            match (inner, &entry.value.tree) {
                (Some((prefix, section)), YamlValue::Map(entries)) => {
                    self.read_section(entries, prefix, section, file)?
                }
                (Some(_), YamlValue::Scalar(Value::Null)) => {}
                // The predecessor allows `model: NAME` as a short form of `model: {name: NAME}`.
                (Some(("model" | "agent.model", section)), YamlValue::Scalar(Value::String(_))) => {
                    self.read_key("model.name", &entry.value, section, at)?;
                }
                (Some((prefix, ConfigSection::Grid)), YamlValue::List(_))
                    if prefix == "model" || prefix == "agent.model" =>
                {
                    self.read_key("model.name", &entry.value, ConfigSection::Grid, at)?;
                }
                (Some(_), _) => {
                    let (expected, found) =
                        ("a mapping of keys".into(), describe(&entry.value.value()));
                    return Err(ConfigProblem::WrongType { at, key: name, expected, found });
                }
                (None, _) => self.read_key(&name, &entry.value, section, at)?,
            }
        }
        Ok(())
    }

    fn read_key(
        &mut self,
        name: &str,
        node: &YamlNode,
        section: ConfigSection,
        at: SourceLocation,
    ) -> Result<(), ConfigProblem> {
        let resolved = match predecessor::resolve_name(name) {
            KeyMapping::Ignored(instead) => {
                self.notes.push(format!("{at}: {name} has no effect: {instead}"));
                return Ok(());
            }
            KeyMapping::Key(resolved) => resolved,
        };
        if resolved == "env.shock_config.enabled" {
            self.shocks_off |= node.value() == Value::Bool(false);
            self.notes.push(format!("{at}: {name} is now pe_induction.p_shock (false: 0)"));
            return Ok(());
        }
        let key = keys::find(&resolved).ok_or_else(|| unknown_key(name, &at))?;
        if resolved != name {
            self.notes.push(format!("{at}: {name} is now {resolved}"));
        }
        // In the predecessor, `seed: null` means "no seed".
        if key.name == "experiment.seed" && node.value().is_null() {
            self.notes.push(format!("{at}: {name} is null: a run always has a seed, 0 is used"));
            return Ok(());
        }
        let target = match section {
            ConfigSection::Plain => &mut self.plain,
            ConfigSection::Fixed => &mut self.fixed,
            ConfigSection::Grid => return self.read_factor(key, node, at),
        };
        match target.insert(key.name, check(key, &node.value(), &at)?) {
            Some(_) => Err(ConfigProblem::Twice { at, key: key.name.into() }),
            None => Ok(()),
        }
    }

    fn read_factor(
        &mut self,
        key: &'static Key,
        node: &YamlNode,
        at: SourceLocation,
    ) -> Result<(), ConfigProblem> {
        // The predecessor sets the number of replications within its grid.
        if key.name == "experiment.replications" {
            self.plain.insert(key.name, check(key, &node.value(), &at)?);
            return Ok(());
        }
        if key.scope != Scope::Cell || key.kind.is_map() {
            return Err(ConfigProblem::NoFactor { at, key: key.name.into() });
        }
        let YamlValue::List(levels) = &node.tree else {
            return Err(ConfigProblem::WrongType {
                at,
                key: format!("grid: {}", key.name),
                expected: "a list of levels".into(),
                found: describe(&node.value()),
            });
        };
        let values = check_levels(key, levels, &at)?;
        if values.is_empty() {
            return Err(ConfigProblem::NoLevels { at, key: key.name.into() });
        }
        if self.grid.iter().any(|(name, _)| *name == key.name) {
            return Err(ConfigProblem::Twice { at, key: key.name.into() });
        }
        self.grid.push((key.name, values));
        Ok(())
    }
}

/// Checks the levels of a factor; two equal levels are an error.
fn check_levels(
    key: &Key,
    levels: &[YamlNode],
    at: &SourceLocation,
) -> Result<Levels, ConfigProblem> {
    let mut values = Levels::new();
    for level in levels {
        let line = if at.line == 0 { 0 } else { level.line };
        let at = SourceLocation { file: at.file.clone(), line };
        let value = check(key, &level.value(), &at)?;
        if values.contains(&value) {
            let level = value.to_string();
            return Err(ConfigProblem::LevelTwice { at, key: key.name.into(), level });
        }
        values.push(value);
    }
    Ok(values)
}

fn check(key: &Key, value: &Value, at: &SourceLocation) -> Result<Value, ConfigProblem> {
    let wrong = |expected| ConfigProblem::WrongType {
        at: at.clone(),
        key: key.name.into(),
        expected: format!("{expected} ({})", key.about),
        found: describe(value),
    };
    let checked = key.kind.check(value).map_err(wrong)?;
    if matches!(key.kind, ValueKind::Text)
        && checked.as_str().is_some_and(|text| text.trim().is_empty())
        && key.default != "\"\""
    {
        return Err(wrong("a text that is not empty".to_string()));
    }
    Ok(checked)
}

fn file_name(node: &YamlNode, at: &SourceLocation) -> Result<String, ConfigProblem> {
    match node.value() {
        Value::String(text) => Ok(text),
        other => Err(ConfigProblem::WrongType {
            at: at.clone(),
            key: "inherit".into(),
            expected: "a file".into(),
            found: describe(&other),
        }),
    }
}

/// Whether a name denotes a section of keys, in this program or in the predecessor.
fn is_section(name: &str) -> bool {
    let is_map = keys::find(name).is_some_and(|key| key.kind.is_map());
    let is_key = matches!(predecessor::resolve_name(name), KeyMapping::Key(key) if keys::find(&key).is_some());
    if is_map || is_key {
        return false;
    }
    let prefix = format!("{name}.");
    let resolved = match predecessor::resolve_name(&prefix) {
        KeyMapping::Key(resolved) => resolved,
        // An ignored section is read anyway, so that each of its keys gets a note.
        KeyMapping::Ignored(_) => return true,
    };
    known_names().iter().any(|known| known.starts_with(&resolved) || known.starts_with(&prefix))
}

fn is_ignored(name: &str) -> bool {
    matches!(predecessor::resolve_name(name), KeyMapping::Ignored(_))
}

/// All names that a configuration may contain: current keys, those of the predecessor, and
/// `inherit`, `grid` and `fixed`.
fn known_names() -> BTreeSet<&'static str> {
    let names = KEYS.iter().map(|key| key.name);
    let renamed = predecessor::RENAMED.iter().map(|renamed| renamed.old);
    let ignored = predecessor::IGNORED.iter().map(|ignored| ignored.old);
    names
        .chain(renamed)
        .chain(ignored)
        .chain(["env.shock_config.enabled", "inherit", "grid", "fixed"])
        .collect()
}

/// The error for an unknown key, which suggests the most similar known name.
fn unknown_key(name: &str, at: &SourceLocation) -> ConfigProblem {
    let leaf = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let scored = |candidate: &'static str| {
        let whole = strsim::normalized_damerau_levenshtein(name, candidate);
        let last = strsim::normalized_damerau_levenshtein(
            name.rsplit('.').next().unwrap_or(name),
            leaf(candidate),
        );
        (whole.max(last * 0.95), candidate)
    };
    let candidates =
        known_names().into_iter().filter(|candidate| !candidate.ends_with('.')).map(scored);
    let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.6);
    ConfigProblem::UnknownKey {
        at: at.clone(),
        key: name.to_string(),
        suggestion: best.map(|(_, candidate)| candidate.to_string()),
    }
}
