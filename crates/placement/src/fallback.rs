//! Which fallbacks a load may take when the plan as configured does not fit.
use crate::PlanError;
use serde::Serialize;

/// The rungs below the first that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// Any rung below the first.
    pub any: bool,
    /// Rungs that drop typed limits.
    pub over_limit: bool,
    /// Rungs that change the dtype.
    pub int8: bool,
}

impl Fallback {
    /// Every rung: the default of `load` and `generate`.
    pub const AUTO: Fallback = Fallback { any: true, over_limit: true, int8: true };
    /// Only rungs that keep the dtype and typed limits: the default of `run` and `submit`.
    pub const KEEP: Fallback = Fallback { any: true, over_limit: false, int8: false };
    /// As configured, or not at all.
    pub const NONE: Fallback = Fallback { any: false, over_limit: false, int8: false };

    /// Reads `auto`, `keep`, `none`, or `allow=over-limit,int8` (which is `keep` and those).
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the choices.
    pub fn parse(text: &str) -> Result<Fallback, PlanError> {
        let wrong = || PlanError::Setting {
            key: "--fallback",
            expected: "auto, keep, none, or allow=over-limit,int8".to_owned(),
            found: text.to_owned(),
        };
        let mut fallback = match text {
            "auto" => return Ok(Fallback::AUTO),
            "none" => return Ok(Fallback::NONE),
            "keep" => return Ok(Fallback::KEEP),
            _ => Fallback::KEEP,
        };
        for word in text.strip_prefix("allow=").ok_or_else(wrong)?.split(',') {
            match word {
                "over-limit" => fallback.over_limit = true,
                "int8" => fallback.int8 = true,
                _ => return Err(wrong()),
            }
        }
        Ok(fallback)
    }
}
