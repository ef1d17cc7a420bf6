//! The simulated warehouse: world, tools, shocks, prediction cards, prediction error, crash
//! detection. It is deterministic and uses no I/O, no clock and no model: the same configuration,
//! seed and sequence of turns give byte-identical records.
//!
//! The order within a day is fixed: deliveries, new customer orders, then the agent's actions (each
//! preceded by the shock of its step). After the last action, fees are charged, customer orders
//! expire and the next day begins.
//!
//! Two designs of the experiment are kept: v1, whose rows can still be replayed, and v2, the
//! default ([`Design`]).
//!
//! Modules in dependency order; each imports only from those listed earlier: labels, decimal,
//! config; random, catalog, terms, orders, news; card, exposure, prediction_error; tool_call,
//! tool_specs, crash_detectors, turn; shock_event, step_record; state; day, shocks, queries; tools;
//! prompt, observation; world; operators.
mod card;
mod catalog;
mod config;
mod crash_detectors;
mod day;
mod decimal;
mod exposure;
mod labels;
mod news;
mod observation;
mod operators;
mod orders;
mod prediction_error;
mod prompt;
mod queries;
mod random;
mod shock_event;
mod shocks;
mod state;
mod step_record;
mod terms;
mod tool_call;
mod tool_specs;
mod tools;
mod turn;
mod world;

pub use card::{Card, CardProblem, CardValidator, card_schema};
pub use catalog::{Catalog, Offer, money, sku_name, supplier_name};
pub use config::{
    ConfigError, DemandConfig, Design, DetectorConfig, Magnitude, MemoryTools, Observability,
    PredictionFormat, PredictionMode, Pressure, REASONING_MAX_CHARS, RecoveryTools, ShockConfig,
    Strictness, TypeMix, WorldConfig,
};
pub use crash_detectors::{
    Crash, CrashMonitor, CrashSeverity, CrashType, DetectorFlags, DetectorStep, detect,
};
pub use exposure::{ERROR_MAX, ErrorSum, Exposure};
pub use operators::{Operator, OperatorSettings, operator};
pub use orders::{CustomerOrder, SupplierOrder};
pub use prediction_error::{
    CallFacts, CallTerms, CardField, DeliveryFacts, PeKind, PeScales, PeTracker, PerKind,
    PredictionPair, Truth,
};
pub use prompt::system_prompt;
pub use random::RandomStream;
pub use shock_event::{ShockDose, ShockEvent, ShockType};
pub use state::Arrival;
pub use step_record::{EpisodeEnd, StepRecord, Totals};
pub use tool_call::ToolCall;
pub use tool_specs::{ToolSpec, tool_specs};
pub use turn::Turn;
pub use world::World;
