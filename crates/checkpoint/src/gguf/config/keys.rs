//! Typed access to the hyper-parameters of a GGUF file. Errors name the key, the expected value and
//! the value found.
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::family::Family;
use crate::gguf::reader::GgufTensor;
use crate::gguf_metadata::GgufMetadata;
use std::path::Path;

pub(super) type Result<T> = std::result::Result<T, CheckpointError>;

/// The hyper-parameters of an architecture (such as `llama.block_count`), and the tensors of the
/// file.
pub(super) struct GgufKeys<'a> {
    pub file: &'a Path,
    pub metadata: &'a GgufMetadata,
    pub tensors: &'a [GgufTensor],
    pub architecture: &'a str,
    pub family: Family,
}

impl GgufKeys<'_> {
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.iter().any(|t| t.name == tensor)
    }

    pub fn bad(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> CheckpointError {
        Defect::new(DefectKind::ConfigValue, self.file, expected, found).key(&self.key(name)).into()
    }

    pub fn unsupported(
        &self,
        key: &str,
        expected: &str,
        found: impl std::fmt::Display,
    ) -> CheckpointError {
        Defect::new(DefectKind::Unsupported, self.file, expected, found).key(key).into()
    }

    /// A positive integer, or a list that contains the same positive integer for every layer.
    pub fn count(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        let number = match self.metadata.get_u64_array(&key) {
            Some(list) if !list.is_empty() && list.iter().all(|n| *n == list[0]) => list[0],
            Some(_) => {
                return Err(self.unsupported(
                    &key,
                    "the same number in all layers",
                    "different ones",
                ));
            }
            None => match self.metadata.get_u64(&key) {
                Some(n) => n,
                None => return Err(self.bad(name, "an integer", value.type_label())),
            },
        };
        if number == 0 || number >= 1 << 32 {
            return Err(self.bad(name, "an integer from 1 to 2^32", number));
        }
        Ok(Some(number as usize))
    }

    pub fn required(&self, name: &str) -> Result<usize> {
        self.count(name)?.ok_or_else(|| self.absent(name))
    }

    /// The error of a required integer that the file does not have.
    pub fn absent(&self, name: &str) -> CheckpointError {
        let defect = Defect::new(DefectKind::ConfigMissing, self.file, "an integer", "no such key");
        defect.key(&self.key(name)).into()
    }

    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        match self.metadata.get_f64(&key).filter(|x| x.is_finite()) {
            Some(x) => Ok(Some(x)),
            None => Err(self.bad(name, "a number", value.type_label())),
        }
    }
}
