//! The shared input of the functions that parse the parts of a `config.json`.
use super::defaults::ConfigDefaults;
use super::keys::ConfigKeys;
use crate::family::Family;

/// A `config.json` of a known family, with the family's defaults.
pub(super) struct HfConfigReader<'a> {
    pub keys: ConfigKeys<'a>,
    pub family: Family,
    pub defaults: ConfigDefaults,
    /// Messages about harmless irregularities, for the user.
    pub notes: &'a mut Vec<String>,
}
