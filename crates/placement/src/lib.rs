//! Pure planning: inventory x machine x limits -> [`Plan`], with reasons, and the ladder of fallbacks. No I/O.

mod assign;
mod error;
mod footprint;
mod ladder;
mod limits;
mod machine;
mod plan;
mod size;
mod tier;

pub use error::PlanError;
pub use footprint::{CHUNK_TOKENS, Footprint, KV_BLOCK_TOKENS};
pub use ladder::{Fallback, Ladder, Rung, RungOutcome, ladder};
pub use limits::{DeviceMapMode, DtypeChoice, Limits, MaxMemory};
pub use machine::{Disk, Gpu, Host, LimitFound, Machine};
pub use plan::{ModulePlan, Plan, TierPlan, plan};
pub use size::{bytes_text, parse_bytes};
pub use tier::Tier;
