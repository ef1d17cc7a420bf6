//! Samples a token from one row of logits: grammar mask, repetition penalty, temperature, top-k,
//! top-p, min-p, in the order of Hugging Face transformers.
//!
//! The token depends on the row, the settings, the sequence's tokens and (seed, position) alone.
//! Randomness is a function of the latter (counter-based, [`uniform`]) where vLLM draws from a
//! generator per request, so the same request gives the same tokens however it was scheduled.

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
