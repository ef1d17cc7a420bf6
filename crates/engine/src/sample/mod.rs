//! One row of logits becomes one token: masked, penalized, filtered and drawn.
//!
//! A choice depends on the row, the settings, the tokens so far and on (seed, position) alone:
//! never on what else is in the batch or on when the row was computed. So a request gives the same
//! tokens however it was scheduled.

mod allowed;
mod choose;
mod error;
mod exponent;
mod filter;
mod philox;
mod sampling;
mod seen;

pub use allowed::Allowed;
pub use choose::{Choice, Draw, SampleBuffers, choose};
pub use error::SampleError;
pub use philox::uniform;
pub use sampling::Sampling;
pub use seen::Seen;

#[cfg(test)]
mod tests;
