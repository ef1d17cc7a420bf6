//! The policy that decides which fallbacks a load may use if the plan as configured does not fit.
use crate::PlanError;
use serde::Serialize;

/// The rungs below the first that a load may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// Whether any rung below the first is allowed.
    pub any: bool,
    /// Whether rungs may drop typed limits.
    pub over_limit: bool,
    /// Whether rungs may change the dtype.
    pub int8: bool,
}

impl Fallback {
    /// Allows every rung: the default of `load` and `generate`.
    pub const AUTO: Fallback = Fallback { any: true, over_limit: true, int8: true };
    /// Allows only rungs that keep the dtype and typed limits: the default of `run` and `submit`.
    pub const KEEP: Fallback = Fallback { any: true, over_limit: false, int8: false };
    /// Allows only the plan as configured.
    pub const NONE: Fallback = Fallback { any: false, over_limit: false, int8: false };

    /// Parses `auto`, `keep`, `none`, or `allow=over-limit,int8` (`keep` with the listed
    /// permissions).
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the accepted values.
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
