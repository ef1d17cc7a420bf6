//! Weights in memory by tensor name, and the checkpoint's shards that contain them.

mod disk_rows;
mod error;
mod expert_stats;
mod experts;
mod shards;
mod tensors;

pub(crate) use disk_rows::DiskRows;
pub use error::{ShardError, WeightError};
pub(crate) use expert_stats::SharedExpertStats;
pub use expert_stats::{ExpertCacheReport, ExpertCacheStats};
pub(crate) use experts::{
    ChosenExperts, ExpertError, ExpertMatrix, ExpertPart, ExpertShapes, ExpertSlice, ExpertSource,
};
pub(crate) use shards::{OpenShard, OpenShards, check_identity, file_name};
pub(crate) use tensors::{Tensor, TensorView, Tensors, is_float};
