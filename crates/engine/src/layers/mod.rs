//! The parts that model families are composed of. Activations are row-major f32, `[rows,
//! features]`.

mod attention;
mod buffers;
mod linear;
mod mlp;
mod norm;
mod pass;
mod rope;

pub(crate) use attention::Attention;
pub(crate) use buffers::{Buffers, Widths};
pub(crate) use linear::{Arithmetic, Linear};
pub(crate) use mlp::{Mlp, MlpShape};
pub(crate) use norm::Norm;
pub(crate) use pass::Pass;
pub(crate) use rope::Rope;
