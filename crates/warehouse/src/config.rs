//! Configuration of a world, and the range of each value.

use crate::labels::labeled_enum;
use error_kind::{ErrorKind, HasKind};
use serde::{Deserialize, Serialize};

/// Maximum length of a rich card's reasoning, in characters.
pub const REASONING_MAX_CHARS: u64 = 500;

/// Number of latest days over which the share of lost orders is taken.
pub(crate) const LOSS_DAYS: u64 = 20;

/// Fee for each day that a delivery comes after the promised day, in percent of the price paid;
/// since design v2.
pub(crate) const LATE_FEE_PERCENT: i64 = 2;

/// A configuration value that is out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct ConfigError {
    pub key: &'static str,
    pub expected: String,
    pub found: String,
}

impl HasKind for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}

labeled_enum!(/// Version of the experiment's design: the rules of shocks, cards, errors and crash detectors.
/// Rows of two designs cannot be compared.
Design {
    /// Shocks act at once or not at all, and a crash ends the run.
    V1 = "v1",
    /// Shocks wait for something to change, and exposure and crashes are measured apart.
    V2 = "v2",
});
labeled_enum!(/// How strong shocks are.
    Magnitude { Low = "low", Medium = "medium", High = "high" });
labeled_enum!(/// Which types of shock occur.
    TypeMix { Realistic = "realistic", Uniform = "uniform", TemporalOnly = "temporal_only", QuantityOnly = "quantity_only",
        CausalOnly = "causal_only", RuleOnly = "rule_only" });
labeled_enum!(/// What the agent learns about a shock. `Sham`: it is told of shocks that change nothing.
    Observability { Full = "full", Delayed = "delayed", Partial = "partial", Hidden = "hidden", Sham = "sham" });
labeled_enum!(/// Whether a card is required, and with which extra fields.
    PredictionMode { Required = "required", Optional = "optional", Confidence = "required+confidence",
        Uncertainty = "required+uncertainty", Full = "required+full" });
labeled_enum!(/// Which fields a card has.
    PredictionFormat { Minimal = "minimal", Structured = "structured", Rich = "rich" });
labeled_enum!(/// Which scratchpad tools there are.
    MemoryTools { None = "none", Basic = "basic", Full = "full" });
labeled_enum!(/// Which recovery tools there are.
    RecoveryTools { None = "none", Reset = "reset", Audit = "audit", Help = "help", All = "all" });
labeled_enum!(/// Strictness of the crash detectors.
    Strictness { Strict = "strict", Moderate = "moderate", Lenient = "lenient" });
labeled_enum!(/// Economic pressure: the daily fee.
    Pressure { Low = "low", Medium = "medium", High = "high" });

/// All parameters of a world. Amounts of money are in currency units and are rounded to cents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    pub design: Design,
    /// Level 0 to 4, with 5, 10, 15, 20 or 25 SKUs and 2, 3, 4, 5 or 6 suppliers.
    pub complexity_level: u8,
    /// The horizon: maximum number of steps of an episode.
    pub max_steps: u64,
    /// Agent actions per day; `None`: as many as the level's demand requires.
    pub actions_per_day: Option<u32>,
    /// Cash at the start.
    pub initial_budget: f64,
    /// Daily fee: low 0, medium 20, high 100.
    pub pressure_level: Pressure,
    /// Units of each SKU at the start; `None`: half of the capacity divided among the SKUs, at most
    /// 30.
    pub initial_storage_per_sku: Option<u32>,
    /// Maximum number of units in storage.
    pub storage_capacity: u32,
    /// Storage fee per unit and day.
    pub storage_fee: f64,
    /// Fee for shipping a customer order.
    pub delivery_cost: f64,
    pub demand: DemandConfig,
    pub shocks: ShockConfig,
    pub memory_tools: MemoryTools,
    pub recovery_tools: RecoveryTools,
    pub prediction_mode: PredictionMode,
    pub prediction_format: PredictionFormat,
    /// Minimum length of a rich card's reasoning, in characters; 0: no minimum.
    pub reasoning_min_chars: u32,
    pub crash_detector: DetectorConfig,
}

/// Customer demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DemandConfig {
    /// Probability of a new customer order, per SKU and day.
    pub p_customer_order: f64,
    /// Days until a customer order is due.
    pub due_days: u32,
    /// Sale price as a multiple of the lowest supplier price.
    pub sale_markup: f64,
    /// Fee for shipping a customer order after its due day.
    pub late_penalty: f64,
    /// Days after which a customer order expires.
    pub expire_after_days: u32,
    /// Number of expired customer orders at which the episode ends; design v1 only.
    pub max_failures: u32,
    /// Share of lost orders, among those shipped or lost in the last 20 days, above which the
    /// episode ends; since design v2.
    pub max_lost_share: f64,
}

/// Frequency, strength and visibility of shocks: events that invalidate predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShockConfig {
    /// Probability of a shock, per step.
    pub p_shock: f64,
    pub pe_mag: Magnitude,
    pub pe_type_mix: TypeMix,
    pub observability: Observability,
}

/// When a run counts as crashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    pub threshold: Strictness,
    /// Number of latest steps that each detector examines.
    pub window_size: usize,
    /// Number of steps for which the episode continues after the first crash; `None`: to the
    /// horizon.
    pub continue_after_crash: Option<u64>,
    /// Mean similarity below which `slow_divergence` fires; `None`: by strictness.
    pub divergence_below: Option<f64>,
}

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig {
            design: Design::V2,
            complexity_level: 1,
            max_steps: 500,
            actions_per_day: None,
            initial_budget: 10_000.0,
            pressure_level: Pressure::Medium,
            initial_storage_per_sku: None,
            storage_capacity: 500,
            storage_fee: 0.1,
            delivery_cost: 0.0,
            demand: DemandConfig::default(),
            shocks: ShockConfig::default(),
            memory_tools: MemoryTools::Full,
            recovery_tools: RecoveryTools::None,
            prediction_mode: PredictionMode::Required,
            prediction_format: PredictionFormat::Structured,
            reasoning_min_chars: 0,
            crash_detector: DetectorConfig::default(),
        }
    }
}

impl Default for DemandConfig {
    fn default() -> Self {
        DemandConfig {
            p_customer_order: 0.3,
            due_days: 3,
            sale_markup: 1.6,
            late_penalty: 0.0,
            expire_after_days: 10,
            max_failures: 25,
            max_lost_share: 0.5,
        }
    }
}

impl Default for ShockConfig {
    fn default() -> Self {
        ShockConfig {
            p_shock: 0.1,
            pe_mag: Magnitude::Medium,
            pe_type_mix: TypeMix::Realistic,
            observability: Observability::Hidden,
        }
    }
}

impl Default for DetectorConfig {
    fn default() -> Self {
        DetectorConfig {
            threshold: Strictness::Moderate,
            window_size: 20,
            continue_after_crash: None,
            divergence_below: None,
        }
    }
}

impl WorldConfig {
    /// Checks all ranges.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |key, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError {
                key,
                expected: format!("{low} to {high}"),
                found: value.to_string(),
            }),
        };
        let (d, budget_max) = (&self.demand, 1e9);
        check("complexity_level", f64::from(self.complexity_level), 0.0, 4.0)?;
        check("max_steps", self.max_steps as f64, 1.0, 1e6)?;
        check("actions_per_day", f64::from(self.actions_per_day.unwrap_or(1)), 1.0, 1000.0)?;
        check("initial_budget", self.initial_budget, 0.0, budget_max)?;
        check("storage_capacity", f64::from(self.storage_capacity), 1.0, 1e6)?;
        check("storage_fee", self.storage_fee, 0.0, 1e4)?;
        check("delivery_cost", self.delivery_cost, 0.0, 1e6)?;
        check("demand.p_customer_order", d.p_customer_order, 0.0, 1.0)?;
        check("demand.due_days", f64::from(d.due_days), 1.0, 1000.0)?;
        check("demand.sale_markup", d.sale_markup, 0.0, 100.0)?;
        check("demand.late_penalty", d.late_penalty, 0.0, 1e6)?;
        check(
            "demand.expire_after_days",
            f64::from(d.expire_after_days),
            f64::from(d.due_days),
            1000.0,
        )?;
        check("demand.max_failures", f64::from(d.max_failures), 1.0, 1e6)?;
        check("demand.max_lost_share", d.max_lost_share, 0.0, 1.0)?;
        let units_max = f64::from(self.storage_capacity / self.skus() as u32);
        check(
            "initial_storage_per_sku",
            f64::from(self.initial_storage_per_sku.unwrap_or(0)),
            0.0,
            units_max,
        )?;
        check("shocks.p_shock", self.shocks.p_shock, 0.0, 1.0)?;
        check(
            "reasoning_min_chars",
            f64::from(self.reasoning_min_chars),
            0.0,
            REASONING_MAX_CHARS as f64,
        )?;
        check("crash_detector.window_size", self.crash_detector.window_size as f64, 8.0, 1000.0)?;
        check(
            "crash_detector.continue_after_crash",
            self.crash_detector.continue_after_crash.unwrap_or(0) as f64,
            0.0,
            1e6,
        )
    }

    /// Number of SKUs.
    pub fn skus(&self) -> usize {
        5 * (usize::from(self.complexity_level) + 1)
    }

    /// Number of suppliers.
    pub fn suppliers(&self) -> usize {
        usize::from(self.complexity_level) + 2
    }

    /// Agent actions per day. By default enough for the mean demand: each customer order takes one
    /// action to ship and a fraction of one to restock.
    pub fn actions_in_a_day(&self) -> u32 {
        let orders = self.skus() as f64 * self.demand.p_customer_order;
        self.actions_per_day.unwrap_or((orders * 1.8).ceil().max(2.0) as u32 + 1)
    }

    /// Units of each SKU at the start.
    pub fn initial_stock(&self) -> u32 {
        let share = self.storage_capacity / (2 * self.skus() as u32).max(1);
        self.initial_storage_per_sku.unwrap_or(share.min(30))
    }

    /// The fixed daily fee, in cents.
    pub(crate) fn daily_fee_cents(&self) -> i64 {
        match self.pressure_level {
            Pressure::Low => 0,
            Pressure::Medium => 2_000,
            Pressure::High => 10_000,
        }
    }
}
