//! The input of the parsers of the configuration's parts.
use super::defaults::ConfigDefaults;
use super::keys::ConfigKeys;
use crate::family::Family;

/// A `config.json` of a known family.
pub(super) struct HfConfigReader<'a> {
    pub keys: ConfigKeys<'a>,
    pub family: Family,
    pub defaults: ConfigDefaults,
    /// Oddities that do no harm, for people.
    pub notes: &'a mut Vec<String>,
}
