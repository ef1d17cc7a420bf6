//! Machine files in YAML. Unknown keys are errors.
//!
//! ```yaml
//! name: two A100 in a 64 GiB job
//! gpus:
//!   - {name: A100-80GB, memory: 79.25GiB}
//!   - {name: A100-80GB, memory: 79.25GiB, free: 70GiB, read: 2TB/s, link: 25GB/s}
//! host: {memory: 128GiB, limit: 64GiB, available: 120GiB, cores: 32, read: 180GB/s}
//! disk: {free: 1TiB, read: 2GB/s, file_system: lustre, network: true}
//! ```
use super::Machine;
use crate::{ByteSize, PlanError};
use base::closest_word;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

impl Machine {
    /// Parses the text of a machine file; `file` is its name, for messages.
    ///
    /// # Errors
    /// [`PlanError::MachineFile`] with the line and the expected content, and for an unknown key
    /// the most similar valid key.
    pub fn from_yaml(file: &str, text: &str) -> Result<Machine, PlanError> {
        let mut machine: Machine =
            serde_saphyr::from_str(text).map_err(|error| refused(file, text, &error))?;
        let whole = |why| PlanError::MachineFile { file: file.to_owned(), line: None, why };
        machine.check().map_err(whole)?;
        machine.described = true;
        if machine.name.is_empty() {
            file.clone_into(&mut machine.name);
        }
        Ok(machine)
    }

    fn check(&self) -> Result<(), String> {
        if self.host.total_bytes == 0 {
            return Err("host.memory: expected more than 0 bytes".to_owned());
        }
        let rates =
            [("host.read", self.host.read_bytes_per_s), ("disk.read", self.disk.read_bytes_per_s)];
        if let Some((key, _)) = rates.iter().find(|(_, rate)| *rate == Some(0)) {
            return Err(format!("{key}: expected more than 0 bytes a second"));
        }
        for (at, gpu) in self.gpus.iter().enumerate() {
            if gpu.total_bytes == 0 {
                return Err(format!("gpus[{at}].memory: expected more than 0 bytes"));
            }
            let rates = [("read", gpu.read_bytes_per_s), ("link", gpu.link_bytes_per_s)];
            if let Some((key, _)) = rates.iter().find(|(_, rate)| *rate == Some(0)) {
                return Err(format!("gpus[{at}].{key}: expected more than 0 bytes a second"));
            }
        }
        Ok(())
    }
}

fn refused(file: &str, text: &str, error: &serde_saphyr::Error) -> PlanError {
    use serde_saphyr::Error;
    let line = error.location().map(|location| location.line());
    let why = match error.without_snippet() {
        Error::Eof { .. } if text.trim().is_empty() => {
            "expected the keys gpus, host and disk, found an empty file".to_owned()
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            let hint = closest_word(field, expected.iter().copied());
            let hint = hint.map_or_else(String::new, |key| format!(" Did you mean {key}?"));
            format!("unknown key {field}.{hint} The keys here are {}", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key} occurs twice"),
        Error::Unexpected { expected: "mapping start", .. } => {
            "expected a mapping, such as {memory: 128GiB}".to_owned()
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            "expected a list, such as [{name: A100-80GB, memory: 79.25GiB}]".to_owned()
        }
        Error::InvalidScalar { ty, .. } => format!(
            "expected {}",
            match *ty {
                "boolean" => "true or false",
                _ => "a whole number, 0 or more",
            }
        ),
        other => {
            let text = other.to_string();
            // The line is known apart from the text.
            text.rsplit_once(" at line ").map_or_else(|| text.clone(), |(why, _)| why.to_owned())
        }
    };
    PlanError::MachineFile { file: file.to_owned(), line, why }
}

/// A number of bytes, or text with a unit.
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfNumberOrText;

        impl Visitor<'_> for OfNumberOrText {
            type Value = NumberOrText;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a size such as 71GiB, 1.5TB or 4096")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Text(text.to_owned()))
            }
        }

        from.deserialize_any(OfNumberOrText)
    }
}

impl NumberOrText {
    fn bytes<E: Error>(self) -> Result<u64, E> {
        match self {
            NumberOrText::Number(bytes) => Ok(bytes),
            NumberOrText::Text(text) => {
                ByteSize::parse(&text).map(|size| size.bytes).map_err(E::custom)
            }
        }
    }

    /// Parses a rate such as `2GB/s`; the `/s` is optional.
    fn bytes_per_s<E: Error>(self) -> Result<u64, E> {
        let NumberOrText::Text(text) = &self else { return self.bytes() };
        let size = text.trim().strip_suffix("/s").unwrap_or(text.trim());
        let wrong =
            |why| E::custom(format!("expected a rate such as 2GB/s, found {text:?}: {why}"));
        ByteSize::parse(size).map(|size| size.bytes).map_err(wrong)
    }
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    NumberOrText::deserialize(from)?.bytes()
}

pub(super) fn optional_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<NumberOrText>::deserialize(from)?.map(NumberOrText::bytes).transpose()
}

pub(super) fn optional_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<NumberOrText>::deserialize(from)?.map(NumberOrText::bytes_per_s).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use error_kind::{ErrorKind, HasKind};

    const GOOD: &str = "gpus: [{name: A100-80GB, memory: 79.25GiB}, {name: A100-80GB, memory: 79.25GiB, free: 70GiB}]\n\
                        host: {memory: 128GiB, limit: 64GiB}\ndisk: {free: 1TiB, read: 2GB/s}\n";

    #[test]
    fn the_form_of_the_design() {
        let machine = Machine::from_yaml("a.yaml", GOOD).unwrap();
        assert_eq!(machine.gpus.len(), 2);
        assert_eq!(machine.gpus[0].total_bytes, 85_094_039_552);
        assert_eq!(machine.gpus[1].free(), 70 << 30);
        assert_eq!((machine.gpus[0].read_bytes_per_s, machine.described), (None, true));
        assert_eq!(machine.host.really_available(), (64 << 30, "the host's limit".to_owned()));
        assert_eq!(machine.disk.read_bytes_per_s, Some(2_000_000_000));
    }

    #[test]
    fn mistakes_name_line_and_key() {
        for (text, line, words) in [
            ("", 1, "found an empty file"),
            ("host: [1]", 1, "expected a mapping"),
            ("gpus: 3\nhost: {memory: 1GiB}", 1, "expected a list"),
            ("gpus: [{name: x, memory: -1}]\nhost: {memory: 1GiB}\n", 1, "a size such as 71GiB"),
            ("host: {memory: {}}\n", 1, "a size such as 71GiB"),
            ("host: {memory: 1GiB, cores: 1.5}\n", 1, "expected a whole number"),
            ("host: {memory: 1GiB}\ndisk: {network: maybe}\n", 2, "expected true or false"),
            ("host: {memory: 1GiB, memory: 1GiB}\n", 1, "memory occurs twice"),
            ("gpus: []\nhost:\n  memroy: 1GiB\n", 3, "Did you mean memory?"),
            ("hosts: {memory: 1GiB}\n", 1, "Did you mean host?"),
            ("gpus: []\n", 1, "host is missing"),
            ("host: {memory: 12Gb}\n", 1, "bits"),
            ("host: {memory: 0}\n", 0, "more than 0"),
            ("host: {memory: 1GiB}\ndisk: {read: 2GB/min}\n", 2, "2GB/s"),
            ("host: {memory: 1GiB, read: 0}\n", 0, "host.read"),
            ("host: {memory: 1GiB}\nhost: {memory: 2GiB}\n", 2, "host"),
            ("gpus: [{name: x, memory: 0GiB}]\nhost: {memory: 1GiB}\n", 0, "gpus[0]"),
        ] {
            let error = Machine::from_yaml("m.yaml", text).unwrap_err();
            let PlanError::MachineFile { line: found, why, .. } = &error else { panic!("{error}") };
            assert_eq!(found.unwrap_or(0), line, "{text}: {why}");
            assert!(!error.to_string().contains("line 0"), "{error}");
            assert!(!why.contains(" at line "), "{text}: {why}");
            assert!(why.contains(words), "{text}: {why}");
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
    }

    #[test]
    fn what_was_probed_can_be_read_as_a_file() {
        let mut probed = Machine::from_yaml("a.yaml", GOOD).unwrap();
        probed.host.limits.push(super::super::LimitFound {
            what: "cgroup".to_owned(),
            bytes: 7 << 30,
            used_bytes: 1,
        });
        probed.host.cpu_flags = vec!["avx2".to_owned()];
        probed.notes.push("a note".to_owned());
        let json = serde_json::to_string(&probed).unwrap();
        assert_eq!(Machine::from_yaml("a.yaml", &json).unwrap(), probed);
    }
}
