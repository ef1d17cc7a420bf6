//! The simulated warehouse: world, tools, shocks, prediction cards, prediction error, crash
//! detection. Pure step functions: no I/O, no clock, no model. The same seed and the same calls
//! give the same bytes.
//!
//! The order within a day is fixed: deliveries, demand, then the agent's actions (each preceded by
//! its shock), and after the last action fees, expiry, the day's end.

mod briefing;
mod card;
mod catalog;
mod config;
mod day;
mod detect;
mod labels;
mod news;
mod operator;
mod orders;
mod pe;
mod random;
mod record;
mod shock;
mod tools;
mod world;

pub use briefing::system_prompt;
pub use card::{Card, CardProblem, CardValidator, card_schema};
pub use catalog::{Catalog, Offer, money, sku_name, supplier_name};
pub use config::{
    ConfigError, DemandConfig, DetectorConfig, Magnitude, MemoryTools, Observability,
    PredictionFormat, PredictionMode, Pressure, REASONING_MAX_CHARS, RecoveryTools, ShockConfig,
    Strictness, TypeMix, WorldConfig,
};
pub use detect::{Crash, CrashSeverity, CrashType, DetectorStep, detect};
pub use operator::{Operator, operator};
pub use orders::{CustomerOrder, SupplierOrder};
pub use pe::{CardField, PeKind, PeScales, PeTracker, PerKind, PredictionPair};
pub use random::RandomStream;
pub use record::{EpisodeEnd, StepRecord, Totals, Turn};
pub use shock::{ShockEvent, ShockType};
pub use tools::{ToolCall, ToolSpec, tool_specs};
pub use world::World;
