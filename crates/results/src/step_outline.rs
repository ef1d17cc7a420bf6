//! The parts of a row that the analysis of a study reads. The others are skipped, not parsed.

use crate::accumulated::{DoseRow, ExposureRow};
use crate::row::StepRow;
use serde::Deserialize;

/// A step in outline: what was called, and what had accumulated after it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct StepOutline {
    pub step: u64,
    /// `None` without a valid action.
    #[serde(default)]
    pub action: Option<ToolName>,
    pub result: Success,
    /// Shocks so far, if they are others than in the row before; `None` in design v1.
    #[serde(default)]
    pub dose: Option<DoseRow>,
    /// Accumulated delivery errors after this step; `None` in design v1.
    #[serde(default)]
    pub exposure: Option<ExposureRow>,
}

/// The tool of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ToolName {
    pub tool: String,
}

/// Whether a call succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Success {
    pub success: bool,
}

impl From<&StepRow> for StepOutline {
    fn from(row: &StepRow) -> Self {
        StepOutline {
            step: row.step,
            action: row.action.as_ref().map(|action| ToolName { tool: action.tool.clone() }),
            result: Success { success: row.result.success },
            dose: row.dose,
            exposure: row.exposure,
        }
    }
}
