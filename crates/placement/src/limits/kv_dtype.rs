//! `--kv-dtype`: the dtype of the KV cache.
use crate::{DtypeChoice, PlanError};
use checkpoint::{Dtype, ModelConfig};
use serde::Serialize;

/// The dtype of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvDtype {
    /// 4 bytes an element: the oracle mode.
    F32,
    /// 2 bytes an element.
    Bf16,
    /// 1 byte an element and a bf16 scale for each 32 of a head: 34 bytes for 32 elements.
    Int8,
}

impl KvDtype {
    /// Elements of a head that share a scale in int8.
    pub const GROUP: usize = 32;

    const ALL: [KvDtype; 3] = [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8];

    /// Parses `bf16`, `f32` or `int8`; `None` for `auto`: see [`KvDtype::for_model`].
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the choices.
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

    /// The default: f32 if everything is computed in f32 (oracle mode, models stored in f32), else
    /// bf16.
    pub fn for_model(dtype: DtypeChoice, config: &ModelConfig) -> KvDtype {
        let oracle = dtype == DtypeChoice::F32
            || (dtype == DtypeChoice::Auto && config.dtype == Some(Dtype::F32));
        if oracle { KvDtype::F32 } else { KvDtype::Bf16 }
    }
}
