//! One source of settings (a file, the `fixed` section, `--set`), flattened to dotted keys and
//! checked against the table.

use super::keys::{self, KEYS, Key, Scope};
use super::predecessor::{self, KeyMapping};
use super::value_kind::{ValueKind, found};
use super::yaml::{YamlEntry, YamlNode, YamlValue};
use crate::error::{ConfigProblem, SourceLocation};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Settings of one source. Values are checked and of their key's type.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub inherit: Option<(String, SourceLocation)>,
    pub plain: BTreeMap<&'static str, Value>,
    pub fixed: BTreeMap<&'static str, Value>,
    /// Factors and their levels, in the file's order.
    pub grid: Vec<(&'static str, Vec<Value>)>,
    pub notes: Vec<String>,
    /// A scripted switch that needs the other keys first.
    shocks_off: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Section {
    Plain,
    Fixed,
    Grid,
}

impl Layer {
    /// Reads a file's tree.
    pub fn read(root: &YamlNode, file: &str) -> Result<Layer, ConfigProblem> {
        let mut layer = Layer::default();
        match &root.tree {
            YamlValue::Map(entries) => layer.section(entries, "", Section::Plain, file)?,
            YamlValue::Scalar(Value::Null) => {}
            _ => {
                let place = SourceLocation { file: file.into(), line: root.line };
                return Err(ConfigProblem::WrongType {
                    place,
                    key: "the document".into(),
                    expected: "a mapping".into(),
                    found: found(&root.value()),
                });
            }
        }
        if std::mem::take(&mut layer.shocks_off) {
            layer.plain.insert("pe_induction.p_shock", Value::from(0.0));
        }
        Ok(layer)
    }

    /// One `key=value` of the command line.
    pub fn set(&mut self, text: &str) -> Result<(), ConfigProblem> {
        let place = || SourceLocation { file: format!("--set {text}"), line: 0 };
        let (name, value) =
            text.split_once('=').ok_or_else(|| ConfigProblem::BadSet { text: text.to_string() })?;
        let value = super::yaml::parse(value)
            .map_err(|error| ConfigProblem::NotYaml { place: place(), words: error.words })?;
        let (name, section) = match name.trim().strip_prefix("grid.") {
            Some(name) => (name, Section::Grid),
            None => (name.trim(), Section::Plain),
        };
        self.one(name, &value, section, place())
    }

    fn section(
        &mut self,
        entries: &[YamlEntry],
        prefix: &str,
        section: Section,
        file: &str,
    ) -> Result<(), ConfigProblem> {
        for entry in entries {
            let place = SourceLocation { file: file.to_string(), line: entry.line };
            let name = if prefix.is_empty() {
                entry.key.clone()
            } else {
                format!("{prefix}.{}", entry.key)
            };
            let inner = match (prefix, entry.key.as_str()) {
                ("", "inherit") if section == Section::Plain => {
                    self.inherit = Some((text_of(&entry.value, &place)?, place));
                    continue;
                }
                ("", "grid") if section == Section::Plain => Some(("", Section::Grid)),
                ("", "fixed") if section == Section::Plain => Some(("", Section::Fixed)),
                // Of what has no effect, a list or a value is answered as it stands.
                _ if (matches!(entry.value.tree, YamlValue::Map(_)) || !is_answered(&name))
                    && is_section(&name) =>
                {
                    Some((name.as_str(), section))
                }
                _ => None,
            };
            match (inner, &entry.value.tree) {
                (Some((prefix, section)), YamlValue::Map(entries)) => {
                    self.section(entries, prefix, section, file)?
                }
                (Some(_), YamlValue::Scalar(Value::Null)) => {}
                // The predecessor allows `model: NAME`.
                (Some(("model" | "agent.model", section)), YamlValue::Scalar(Value::String(_))) => {
                    self.one("model.name", &entry.value, section, place)?;
                }
                (Some((prefix, Section::Grid)), YamlValue::List(_))
                    if prefix == "model" || prefix == "agent.model" =>
                {
                    self.one("model.name", &entry.value, Section::Grid, place)?;
                }
                (Some(_), _) => {
                    let (expected, found) =
                        ("a mapping of keys".into(), found(&entry.value.value()));
                    return Err(ConfigProblem::WrongType { place, key: name, expected, found });
                }
                (None, _) => self.one(&name, &entry.value, section, place)?,
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        name: &str,
        node: &YamlNode,
        section: Section,
        place: SourceLocation,
    ) -> Result<(), ConfigProblem> {
        let ours = match predecessor::fate(name) {
            KeyMapping::Ignored(instead) => {
                self.notes.push(format!("{place}: {name} has no effect: {instead}"));
                return Ok(());
            }
            KeyMapping::Key(ours) => ours,
        };
        if ours == "env.shock_config.enabled" {
            self.shocks_off |= node.value() == Value::Bool(false);
            self.notes.push(format!("{place}: {name} is now pe_induction.p_shock (false: 0)"));
            return Ok(());
        }
        let key = keys::find(&ours).ok_or_else(|| unknown(name, &place))?;
        if ours != name {
            self.notes.push(format!("{place}: {name} is now {ours}"));
        }
        // `seed: null` was "no seed"; a run always has one.
        if key.name == "experiment.seed" && node.value().is_null() {
            self.notes
                .push(format!("{place}: {name} is null: a run always has a seed, 0 is taken"));
            return Ok(());
        }
        match section {
            Section::Plain | Section::Fixed => {
                let value = check(key, &node.value(), &place)?;
                let target =
                    if section == Section::Plain { &mut self.plain } else { &mut self.fixed };
                match target.insert(key.name, value) {
                    Some(_) => Err(ConfigProblem::Twice { place, key: key.name.into() }),
                    None => Ok(()),
                }
            }
            Section::Grid => self.factor(key, node, place),
        }
    }

    fn factor(
        &mut self,
        key: &'static Key,
        node: &YamlNode,
        place: SourceLocation,
    ) -> Result<(), ConfigProblem> {
        if key.name == "experiment.replications" {
            self.plain.insert(key.name, check(key, &node.value(), &place)?);
            return Ok(());
        }
        if key.scope != Scope::Cell || key.kind.is_map() {
            return Err(ConfigProblem::NoFactor { place, key: key.name.into() });
        }
        let YamlValue::List(levels) = &node.tree else {
            let (expected, found) = ("a list of levels".into(), found(&node.value()));
            return Err(ConfigProblem::WrongType {
                place,
                key: format!("grid: {}", key.name),
                expected,
                found,
            });
        };
        let mut values: Vec<Value> = Vec::new();
        for level in levels {
            let place = SourceLocation {
                file: place.file.clone(),
                line: if place.line == 0 { 0 } else { level.line },
            };
            let value = check(key, &level.value(), &place)?;
            if values.contains(&value) {
                return Err(ConfigProblem::LevelTwice {
                    place,
                    key: key.name.into(),
                    level: value.to_string(),
                });
            }
            values.push(value);
        }
        if values.is_empty() {
            return Err(ConfigProblem::NoLevels { place, key: key.name.into() });
        }
        if self.grid.iter().any(|(name, _)| *name == key.name) {
            return Err(ConfigProblem::Twice { place, key: key.name.into() });
        }
        self.grid.push((key.name, values));
        Ok(())
    }
}

fn check(key: &Key, value: &Value, place: &SourceLocation) -> Result<Value, ConfigProblem> {
    // A path or model of digits alone is read as a number by YAML.
    let wrong = |expected| ConfigProblem::WrongType {
        place: place.clone(),
        key: key.name.into(),
        expected: format!("{expected} ({})", key.about),
        found: found(value),
    };
    let kept = key.kind.check(value).map_err(wrong)?;
    if matches!(key.kind, ValueKind::Text)
        && kept.as_str().is_some_and(|text| text.trim().is_empty())
        && key.default != "\"\""
    {
        return Err(wrong("a text that is not empty".to_string()));
    }
    Ok(kept)
}

fn text_of(node: &YamlNode, place: &SourceLocation) -> Result<String, ConfigProblem> {
    match node.value() {
        Value::String(text) => Ok(text),
        other => Err(ConfigProblem::WrongType {
            place: place.clone(),
            key: "inherit".into(),
            expected: "a file".into(),
            found: found(&other),
        }),
    }
}

/// Whether keys lie under this name, ours or the predecessor's.
fn is_section(name: &str) -> bool {
    let is_map = keys::find(name).is_some_and(|key| key.kind.is_map());
    if is_map
        || matches!(predecessor::fate(name), KeyMapping::Key(ours) if keys::find(&ours).is_some())
    {
        return false;
    }
    let prefix = format!("{name}.");
    let ours = match predecessor::fate(&prefix) {
        KeyMapping::Key(ours) => ours,
        // A whole section that has no effect is still read, so that each key gets its answer.
        KeyMapping::Ignored(_) => return true,
    };
    known().iter().any(|known| known.starts_with(&ours) || known.starts_with(&prefix))
}

fn is_answered(name: &str) -> bool {
    matches!(predecessor::fate(name), KeyMapping::Ignored(_))
}

/// All names that are understood.
fn known() -> BTreeSet<&'static str> {
    let names = KEYS.iter().map(|key| key.name);
    let renamed = predecessor::RENAMED.iter().map(|renamed| renamed.old);
    let answered = predecessor::IGNORED.iter().map(|answered| answered.old);
    names
        .chain(renamed)
        .chain(answered)
        .chain(["env.shock_config.enabled", "inherit", "grid", "fixed"])
        .collect()
}

fn unknown(name: &str, place: &SourceLocation) -> ConfigProblem {
    let leaf = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let near = |candidate: &'static str| {
        let whole = strsim::normalized_damerau_levenshtein(name, candidate);
        let last = strsim::normalized_damerau_levenshtein(
            name.rsplit('.').next().unwrap_or(name),
            leaf(candidate),
        );
        (whole.max(last * 0.95), candidate)
    };
    let candidates = known().into_iter().filter(|candidate| !candidate.ends_with('.')).map(near);
    let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.6);
    ConfigProblem::UnknownKey {
        place: place.clone(),
        key: name.to_string(),
        suggestion: best.map(|(_, candidate)| candidate.to_string()),
    }
}
