//! The grammar state of one response.

use llguidance::{CancellationHandle, Matcher};
use toktrie::SimpleVob;

use super::GrammarError;
use crate::sampling::AllowedTokens;

/// Parser state of one response.
pub struct GrammarMatcher {
    matcher: Matcher,
    cancellation: Option<CancellationHandle>,
}

/// The tokens that the grammar allows next, as a bitmask.
#[derive(Debug)]
pub struct TokenMask(SimpleVob);

impl TokenMask {
    /// The mask in the form that the sampler takes.
    pub fn allowed(&self) -> AllowedTokens<'_> {
        AllowedTokens::new(self.0.as_slice())
    }
}

impl GrammarMatcher {
    pub(super) fn new(matcher: Matcher) -> Self {
        let cancellation = matcher.cancellation_handle();
        GrammarMatcher { matcher, cancellation }
    }

    /// Advances the parser by a sampled token.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the grammar does not allow the token.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(step_error)
    }

    /// Advances the parser by a token if the grammar allows it; otherwise returns false and changes
    /// nothing.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the parser fails.
    pub fn try_accept(&mut self, token: u32) -> Result<bool, GrammarError> {
        Ok(self.matcher.try_consume_tokens(&[token]).map_err(step_error)? == 1)
    }

    /// An independent copy in the same state.
    pub fn fork(&self) -> GrammarMatcher {
        GrammarMatcher::new(self.matcher.deep_clone())
    }

    /// Undoes the last `tokens` accepted tokens.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if fewer tokens were accepted.
    pub fn rollback(&mut self, tokens: usize) -> Result<(), GrammarError> {
        self.matcher.rollback(tokens).map_err(step_error)
    }

    /// Advances the parser by all tokens that the grammar forces next, and returns them. Empty if
    /// the grammar allows several continuations, or if `canonical_tokens` is off.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the parser fails.
    pub fn take_forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.consume_ff_tokens();
        match self.matcher.get_error() {
            Some(cause) => Err(GrammarError::Step { cause }),
            None => Ok(forced),
        }
    }

    /// Whether the text is complete and no token can follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Computes which tokens the grammar allows next. May take a millisecond.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if no token is allowed, or if the grammar is too complex in this
    /// state.
    pub fn compute_mask(&mut self) -> Result<TokenMask, GrammarError> {
        self.matcher.compute_mask_or_eos().map(TokenMask).map_err(step_error)
    }

    /// Handle that stops this matcher's mask computation from another thread.
    pub(crate) fn cancellation(&self) -> Option<CancellationHandle> {
        self.cancellation.clone()
    }
}

impl std::fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrammarMatcher({})", self.matcher.stop_reason())
    }
}

fn step_error(cause: impl std::fmt::Display) -> GrammarError {
    let cause = cause.to_string();
    let cause = cause.trim_end_matches("<non-verbose/>").trim_end();
    GrammarError::Step { cause: cause.to_owned() }
}
