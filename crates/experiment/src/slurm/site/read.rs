//! Site files in YAML, with errors that name line and key.

use super::keys::{KEYS, SiteKey, WrongSetting};
use super::{ModelOverride, Site};
use crate::config::describe;
use crate::config::yaml::{self, YamlEntry, YamlNode, YamlValue};
use crate::error::{ConfigProblem, SourceLocation};
use base::closest_word;
use serde_json::Value;

impl Site {
    /// Parses the text of a site file. Error messages call it `file`.
    ///
    /// # Errors
    /// An unknown key, a value that its key does not take, or options of `sbatch` that contradict
    /// other settings.
    pub fn from_yaml(file: &str, text: &str) -> Result<Site, ConfigProblem> {
        let mut site = Site::default();
        if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
            return Ok(site);
        }
        let root = yaml::parse(text).map_err(|error| {
            let at = SourceLocation { file: file.to_string(), line: error.line.unwrap_or(1) };
            ConfigProblem::NotYaml { at, message: in_plain_words(&error.message) }
        })?;
        let file = File { name: file };
        let YamlValue::Map(entries) = &root.tree else {
            let why = format!("expected keys and values, found {}", describe(&root.value()));
            return Err(file.problem(root.line, "the file", why));
        };
        for entry in entries.iter().filter(|entry| entry.key != "models") {
            file.set(&mut site, "", entry, |_| true)?;
        }
        site.check().map_err(|wrong| {
            file.problem(line_of(entries, &wrong, root.line), wrong.key, wrong.why)
        })?;
        if let Some(models) = entries.iter().find(|entry| entry.key == "models") {
            file.models(&mut site, models)?;
        }
        Ok(site)
    }
}

/// A site file, for messages.
struct File<'a> {
    name: &'a str,
}

impl File<'_> {
    fn problem(&self, line: u64, key: &str, why: String) -> ConfigProblem {
        ConfigProblem::Site { at: self.at(line), key: key.to_owned(), why }
    }

    fn at(&self, line: u64) -> SourceLocation {
        SourceLocation { file: self.name.to_owned(), line }
    }

    /// Sets the key of an entry; `within` is the entry's section with a dot, for messages.
    fn set(
        &self,
        site: &mut Site,
        within: &str,
        entry: &YamlEntry,
        allowed: fn(&SiteKey) -> bool,
    ) -> Result<(), ConfigProblem> {
        let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else {
            let known = KEYS.iter().filter(|key| allowed(key)).map(|key| key.name);
            let suggestion = closest_word(&entry.key, known.clone());
            return Err(match suggestion {
                Some(near) => ConfigProblem::UnknownKey {
                    at: self.at(entry.line),
                    key: format!("{within}{}", entry.key),
                    suggestion: Some(near.to_owned()),
                },
                None => {
                    let known: Vec<&str> = known.collect();
                    let why = format!("unknown key. The keys here are {}", known.join(", "));
                    self.problem(entry.line, &format!("{within}{}", entry.key), why)
                }
            });
        };
        let name = format!("{within}{}", key.name);
        if !allowed(key) {
            let why = "holds for the whole site: give it outside of models".to_owned();
            return Err(self.problem(entry.line, &name, why));
        }
        site.set(key.name, &entry.value.value())
            .map_err(|why| self.problem(wrong_line(key.name, entry), &name, why))
    }

    /// Reads the section `models`, and checks each entry together with the rest of the file.
    fn models(&self, site: &mut Site, models: &YamlEntry) -> Result<(), ConfigProblem> {
        const FORM: &str = "a mapping of model names to settings, such as {\"*70b*\": {hours: 12}}";
        let expected = |line, key: &str, node: &YamlNode| {
            let why = format!("expected {FORM}, found {}", describe(&node.value()));
            self.problem(line, key, why)
        };
        let YamlValue::Map(entries) = &models.value.tree else {
            let empty = matches!(&models.value.tree, YamlValue::Scalar(Value::Null));
            return if empty {
                Ok(())
            } else {
                Err(expected(models.line, "models", &models.value))
            };
        };
        let base = site.clone();
        for entry in entries {
            let section = format!("models.{}", entry.key);
            if entry.key.is_empty() || entry.key.contains(char::is_control) {
                let why = "expected the name of a model, or a pattern such as *70b*".to_owned();
                return Err(self.problem(entry.line, "models", why));
            }
            let YamlValue::Map(settings) = &entry.value.tree else {
                return Err(expected(entry.line, &section, &entry.value));
            };
            let mut merged = base.clone();
            for setting in settings {
                self.set(&mut merged, &format!("{section}."), setting, |key| key.of_models)?;
            }
            merged.check().map_err(|wrong| {
                let key = format!("{section}.{}", wrong.key);
                self.problem(line_of(settings, &wrong, entry.line), &key, wrong.why)
            })?;
            let settings = settings.iter().map(|s| (s.key.clone(), s.value.value())).collect();
            site.models.push(ModelOverride { pattern: entry.key.clone(), settings });
        }
        Ok(())
    }
}

/// The line of a wrong setting, else of the one that it contradicts, or `otherwise`.
fn line_of(entries: &[YamlEntry], wrong: &WrongSetting, otherwise: u64) -> u64 {
    let line = |key| entries.iter().find(|entry| entry.key == key).map(|entry| entry.line);
    line(wrong.key).or_else(|| line(wrong.other)).unwrap_or(otherwise)
}

/// The line of a wrong value: of a list, that of its first wrong item.
fn wrong_line(key: &str, entry: &YamlEntry) -> u64 {
    let YamlValue::List(items) = &entry.value.tree else { return entry.line };
    let wrong =
        |item: &&YamlNode| Site::default().set(key, &Value::Array(vec![item.value()])).is_err();
    items.iter().find(wrong).map_or(entry.line, |item| item.line)
}

/// Beginnings of the parser's messages that are in words of programmers, and what they mean here.
const PLAIN_WORDS: [(&str, &str); 5] = [
    ("non-finite float", "expected a finite number"),
    ("alias references unknown anchor", "a text that begins with * needs quotes: \"*70b*\""),
    ("multiple YAML documents", "expected one document, found several, separated by ---"),
    ("expected string scalar", "expected a name before the colon"),
    ("invalid ", "the value is not of the type that its tag (!!) says"),
];

/// A parser's message in plain words and without its line, which is known apart from the text.
fn in_plain_words(message: &str) -> String {
    if let Some((_, words)) = PLAIN_WORDS.iter().find(|(begin, _)| message.starts_with(begin)) {
        return (*words).to_owned();
    }
    if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        let key = key.split(',').next().unwrap_or(key);
        return format!("the key {key} occurs twice: keep one");
    }
    let end = [" at line ", "line "].iter().filter_map(|words| message.find(words)).min();
    let text = end.map_or(message, |end| &message[..end]).trim_end_matches([' ', ',', ':', '(']);
    if text.is_empty() { message.to_owned() } else { text.to_owned() }
}
