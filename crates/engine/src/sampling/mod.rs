//! One row of logits becomes one token: masked, penalized, filtered and drawn.
//!
//! A choice depends on the row, the settings, the tokens so far and on (seed, position) alone:
//! never on what else is in the batch or on when the row was computed. So a request gives the same
//! tokens however it was scheduled.

mod allowed_tokens;
mod error;
mod exponent;
mod filter;
mod params;
mod philox;
mod sample;
mod seen_tokens;

pub use allowed_tokens::AllowedTokens;
pub use error::SampleError;
pub use params::SamplingParams;
pub use philox::uniform;
pub use sample::{SampleBuffers, SampleInput, SampledToken, sample};
pub use seen_tokens::SeenTokens;

#[cfg(test)]
mod tests;
