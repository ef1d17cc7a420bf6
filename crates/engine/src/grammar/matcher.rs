//! One reply's way through its grammar.

use llguidance::{CancellationHandle, Matcher};
use toktrie::SimpleVob;

use super::GrammarError;
use crate::sampling::AllowedTokens;

/// Where a reply is in its grammar.
pub struct GrammarMatcher {
    matcher: Matcher,
    cancellation: Option<CancellationHandle>,
}

/// The tokens that may come next.
#[derive(Debug)]
pub struct TokenMask(SimpleVob);

impl TokenMask {
    /// As the sampler takes it.
    pub fn allowed(&self) -> AllowedTokens<'_> {
        AllowedTokens::new(self.0.as_slice())
    }
}

impl GrammarMatcher {
    pub(super) fn new(matcher: Matcher) -> Self {
        let cancellation = matcher.cancellation_handle();
        GrammarMatcher { matcher, cancellation }
    }

    /// Takes a token that was chosen.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the grammar does not have it there.
    pub fn advance(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(step)
    }

    /// Takes a token if the grammar has it there; otherwise says false and stays where it is.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the parser gave up.
    pub fn advance_if_allowed(&mut self, token: u32) -> Result<bool, GrammarError> {
        Ok(self.matcher.try_consume_tokens(&[token]).map_err(step)? == 1)
    }

    /// A guide at the same place that goes on alone: what becomes of it, this one does not notice.
    pub fn fork(&self) -> GrammarMatcher {
        GrammarMatcher::new(self.matcher.deep_clone())
    }

    /// Takes the last `tokens` tokens back.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if there are not so many.
    pub fn go_back(&mut self, tokens: usize) -> Result<(), GrammarError> {
        self.matcher.rollback(tokens).map_err(step)
    }

    /// Takes and gives the tokens that must come next, as many as are certain; none if the model
    /// has to choose or if canonical tokens are switched off.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if the parser gave up.
    pub fn forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        if self.finished() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.consume_ff_tokens();
        match self.matcher.get_error() {
            Some(cause) => Err(GrammarError::Step { cause }),
            None => Ok(forced),
        }
    }

    /// Whether the text is complete and nothing can follow.
    pub fn finished(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// The tokens that may come next. May take a millisecond.
    ///
    /// # Errors
    /// [`GrammarError::Step`] if there are none or the grammar is too complex there.
    pub fn mask(&mut self) -> Result<TokenMask, GrammarError> {
        self.matcher.compute_mask_or_eos().map(TokenMask).map_err(step)
    }

    /// Tells a guide that is at work on another thread to give up.
    pub(crate) fn cancellation(&self) -> Option<CancellationHandle> {
        self.cancellation.clone()
    }
}

impl std::fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrammarMatcher({})", self.matcher.stop_reason())
    }
}

fn step(cause: impl std::fmt::Display) -> GrammarError {
    let cause = cause.to_string();
    let cause = cause.trim_end_matches("<non-verbose/>").trim_end();
    GrammarError::Step { cause: cause.to_owned() }
}
