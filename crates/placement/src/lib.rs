//! Pure planning: inventory x machine x limits -> [`Plan`], with reasons, and the [`ladder()`] of
//! fallbacks. No I/O, no access to hardware.
//!
//! A module is "off the GPUs" if its weights are in host memory or stay on disk, and "spills" if
//! they are there only because the GPUs are too small. A "typed" limit or budget is one that the
//! user set with `--max-memory`.
//!
//! A [`Machine`] is a plain value, probed by `device` or read from a file with
//! [`Machine::from_yaml`]. The memory needs of everything but weights are in [`footprint`]; the
//! engine uses the same constants.

mod alternatives;
mod assign;
mod bytes;
mod change;
mod describe;
mod error;
mod fallback;
pub mod footprint;
mod gpu_support;
mod ladder;
mod limits;
mod machine;
mod module_range;
mod plan;
mod planner;
mod predict;
mod problem;
mod reason;
mod rung;
mod score;
mod solver;
mod tier;
mod warn;

pub use bytes::{ByteSize, SIZE_FORMS, both_units, bytes_text, short_text};
pub use change::{Change, ChangeKind};
pub use error::{PlanError, Shortage};
pub use fallback::Fallback;
pub use footprint::{
    CHUNK_TOKENS, Footprint, GPU_STAGING_BYTES, KV_BLOCK_TOKENS, LOGITS_ROWS, ModuleWeights,
    PINNED_RING_BYTES, READERS_MAX, Weights,
};
pub use gpu_support::without_gpu_kernel;
pub use ladder::{FailedRung, GpuLeft, Ladder, ladder, ladder_below};
pub use limits::{CONTEXT_DEFAULT_MAX, DeviceMapMode, DtypeChoice, KvDtype, Limits, MaxMemory};
pub use machine::{
    DefaultRates, Disk, GpuSpec, Host, HugePages, LimitFound, Machine, NumaNode, Pcie, Rate,
    RateSource, described_gpu,
};
pub use plan::{ModulePlan, Plan, Reason, Spill, TierPlan, TierRate, TypedLimit};
pub use planner::{Planner, plan};
pub use rung::{Rung, RungOutcome, RungState};
pub use tier::Tier;
