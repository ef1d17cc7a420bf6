//! `vendomini schema`: the JSON Schema of configurations, for editors.

use crate::failure::Failure;
use crate::output;

/// Prints the schema alone, without the version that other documents have, since it is itself a
/// format.
pub fn run() -> Result<u8, Failure> {
    output::line(&format!("{:#}", experiment::config_schema()))?;
    Ok(0)
}
