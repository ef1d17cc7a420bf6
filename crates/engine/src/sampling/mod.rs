//! Samples a token from one row of logits: grammar mask, repetition penalty, temperature, top-k,
//! top-p, min-p, in the order of Hugging Face transformers.
//!
//! The token depends only on the row of logits, the mask, the sampling parameters, the sequence's
//! tokens and its position. Random numbers are a function of (seed, position) (counter-based,
//! [`uniform`]), where vLLM draws from one generator per request. The same request therefore gives
//! the same tokens however it is scheduled.

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
