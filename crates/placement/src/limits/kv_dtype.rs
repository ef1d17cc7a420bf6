//! `--kv-dtype`: the dtype of the KV cache.
use crate::{DtypeChoice, PlanError};
use checkpoint::{Dtype, ModelConfig};
use serde::Serialize;

/// The dtype of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvDtype {
    /// 4 bytes per element, for reference results.
    F32,
    /// 2 bytes per element.
    Bf16,
    /// 1 byte per element and a bf16 scale for each 32 elements of a head: 34 bytes per 32
    /// elements.
    Int8,
}

impl KvDtype {
    /// Number of elements of a head with a common scale in int8.
    pub const GROUP: usize = 32;

    const ALL: [KvDtype; 3] = [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8];

    /// Parses `bf16`, `f32` or `int8`; `None` for `auto`: see [`KvDtype::for_model`].
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the accepted values.
    pub fn parse(text: &str) -> Result<Option<KvDtype>, PlanError> {
        let found = KvDtype::ALL.into_iter().find(|dtype| dtype.name() == text);
        if found.is_none() && text != "auto" {
            let expected = "auto, bf16, f32 or int8".to_owned();
            return Err(PlanError::Setting { key: "--kv-dtype", expected, found: text.to_owned() });
        }
        Ok(found)
    }

    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F32 => "f32",
            KvDtype::Bf16 => "bf16",
            KvDtype::Int8 => "int8",
        }
    }

    /// The default dtype: f32 if all computation is in f32 (`--dtype f32`, or a model stored in
    /// f32), otherwise bf16.
    pub fn for_model(dtype: DtypeChoice, config: &ModelConfig) -> KvDtype {
        let oracle = dtype == DtypeChoice::F32
            || (dtype == DtypeChoice::Auto && config.dtype == Some(Dtype::F32));
        if oracle { KvDtype::F32 } else { KvDtype::Bf16 }
    }
}
