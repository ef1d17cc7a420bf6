//! What goes into a forward pass and what comes out.

use std::ops::Range;

use crate::kv::{BLOCK_TOKENS, BlockId};

/// The rows of a batch that belong to one sequence: consecutive positions of it.
#[derive(Clone, Debug)]
pub struct SequenceSpan<'a> {
    /// Rows of [`Batch::tokens`], not empty.
    pub rows: Range<usize>,
    /// Position in its sequence of the first of these rows; all earlier positions are already in
    /// the pool.
    pub first_position: usize,
    /// Block `i` holds positions `i * BLOCK_TOKENS ..`; it must reach past the last of these rows.
    pub block_table: &'a [BlockId],
}

/// Tokens of any number of sequences, computed in one pass.
///
/// Spans must cover `tokens` in order and without holes, and no two spans may write to the same
/// block.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Token ids, span after span.
    pub tokens: &'a [u32],
    /// Which rows belong to which sequence.
    pub sequences: &'a [SequenceSpan<'a>],
    /// Rows whose logits are wanted; may be empty.
    pub logits_for: &'a [usize],
}

/// A batch that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There is nothing to compute.
    #[error("the batch holds no tokens; a forward pass needs at least one")]
    Empty,
    /// An id outside the vocabulary.
    #[error(
        "row {row}: token {token} is outside the vocabulary of {vocab}; the tokenizer and the model do not belong together"
    )]
    Token {
        /// The row.
        row: usize,
        /// The id found.
        token: u32,
        /// How many ids there are.
        vocab: usize,
    },
    /// Spans that do not cover the rows.
    #[error(
        "span {span}: rows {start}..{end} found, but it must start at row {expected} and end at most at row {rows}"
    )]
    Rows {
        /// Index of the span.
        span: usize,
        /// Its first row.
        start: usize,
        /// One past its last row.
        end: usize,
        /// Where it must start.
        expected: usize,
        /// Rows in the batch.
        rows: usize,
    },
    /// A position that the model or this load cannot hold.
    #[error(
        "span {span}: position {position} found, but this load holds {positions} positions; shorten the text or raise --context"
    )]
    Position {
        /// Index of the span.
        span: usize,
        /// The last position asked for.
        position: usize,
        /// Positions there are.
        positions: usize,
    },
    /// A block table that is too short.
    #[error(
        "span {span}: a block table of {found} blocks, but positions up to {last} need {expected}"
    )]
    Table {
        /// Index of the span.
        span: usize,
        /// Blocks in the table.
        found: usize,
        /// Blocks needed.
        expected: usize,
        /// The last position.
        last: usize,
    },
    /// A block that is not in the pool.
    #[error(
        "span {span}: block {block} is not held (the pool has {blocks}); it was released too early"
    )]
    Block {
        /// Index of the span.
        span: usize,
        /// The id found.
        block: BlockId,
        /// Blocks in the pool.
        blocks: usize,
    },
    /// A row that is not in the batch.
    #[error("logits wanted for row {row}, but the batch has {rows} rows")]
    LogitsRow {
        /// The row asked for.
        row: usize,
        /// Rows in the batch.
        rows: usize,
    },
    /// More rows than the scratch was made for.
    #[error("{what}: {found} rows, but the scratch was made for {limit}; split the batch")]
    TooLarge {
        /// `tokens` or `logits`.
        what: &'static str,
        /// Rows found.
        found: usize,
        /// Rows there is room for.
        limit: usize,
    },
}

/// What a load can hold, against which a batch is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub vocab: usize,
    pub positions: usize,
    pub rows: usize,
    pub logits_rows: usize,
}

impl Batch<'_> {
    /// Checks rows, ids, positions and tables; `held` says whether a block is in use, `blocks` how
    /// many there are.
    pub(crate) fn check(
        &self,
        limits: &BatchLimits,
        blocks: usize,
        held: impl Fn(BlockId) -> bool,
    ) -> Result<(), BatchError> {
        self.check_sizes(limits)?;
        let mut expected = 0;
        for (span, sequence) in self.sequences.iter().enumerate() {
            self.check_rows(span, sequence, expected)?;
            check_positions(span, sequence, limits.positions)?;
            let unheld =
                sequence.block_table[..sequence.blocks()].iter().find(|&&block| !held(block));
            if let Some(&block) = unheld {
                return Err(BatchError::Block { span, block, blocks });
            }
            expected = sequence.rows.end;
        }
        if expected != self.tokens.len() {
            let rows = self.tokens.len();
            return Err(BatchError::Rows {
                span: self.sequences.len(),
                start: rows,
                end: rows,
                expected,
                rows,
            });
        }
        Ok(())
    }

    fn check_sizes(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        let rows = self.tokens.len();
        if rows == 0 {
            return Err(BatchError::Empty);
        }
        if rows > limits.rows {
            return Err(BatchError::TooLarge { what: "tokens", found: rows, limit: limits.rows });
        }
        if self.logits_for.len() > limits.logits_rows {
            let (found, limit) = (self.logits_for.len(), limits.logits_rows);
            return Err(BatchError::TooLarge { what: "logits", found, limit });
        }
        let outside = self.tokens.iter().position(|&token| token as usize >= limits.vocab);
        if let Some(row) = outside {
            return Err(BatchError::Token { row, token: self.tokens[row], vocab: limits.vocab });
        }
        match self.logits_for.iter().find(|&&row| row >= rows) {
            Some(&row) => Err(BatchError::LogitsRow { row, rows }),
            None => Ok(()),
        }
    }

    fn check_rows(
        &self,
        span: usize,
        sequence: &SequenceSpan,
        expected: usize,
    ) -> Result<(), BatchError> {
        let Range { start, end } = sequence.rows;
        let rows = self.tokens.len();
        if start != expected || end <= start || end > rows {
            return Err(BatchError::Rows { span, start, end, expected, rows });
        }
        Ok(())
    }
}

impl SequenceSpan<'_> {
    /// The last position of the span.
    pub fn last_position(&self) -> usize {
        self.first_position + self.rows.len() - 1
    }

    /// Blocks that positions up to the last one take.
    pub fn blocks(&self) -> usize {
        self.last_position() / BLOCK_TOKENS + 1
    }
}

fn check_positions(
    span: usize,
    sequence: &SequenceSpan,
    positions: usize,
) -> Result<(), BatchError> {
    let fits = sequence
        .first_position
        .checked_add(sequence.rows.len())
        .is_some_and(|end| end <= positions);
    if !fits {
        let position = sequence.first_position.saturating_add(sequence.rows.len() - 1);
        return Err(BatchError::Position { span, position, positions });
    }
    let (found, expected) = (sequence.block_table.len(), sequence.blocks());
    if found < expected {
        return Err(BatchError::Table { span, found, expected, last: sequence.last_position() });
    }
    Ok(())
}

/// Logits of the rows asked for, `[rows, vocab]`; borrowed from the scratch until the next pass. A
/// sampler may write to them.
#[derive(Debug)]
pub struct Logits<'a> {
    values: &'a mut [f32],
    vocab: usize,
}

impl<'a> Logits<'a> {
    pub(crate) fn new(values: &'a mut [f32], vocab: usize) -> Self {
        debug_assert_eq!(values.len() % vocab, 0);
        Logits { values, vocab }
    }

    /// How many rows there are: as many as were asked for, in that order.
    pub fn rows(&self) -> usize {
        self.values.len() / self.vocab
    }

    /// Ids a row has a logit for.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Logits of the `index`-th row asked for, `[vocab]`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.vocab..][..self.vocab]
    }

    /// The same, to write to.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.vocab..][..self.vocab]
    }

    /// All rows, to write to.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.vocab)
    }

    /// Whether the `index`-th row has no NaN and no infinity. The pass does not end on one bad row:
    /// the others go on.
    pub fn is_finite(&self, index: usize) -> bool {
        // A sum of zeros times each value is zero exactly when all are finite, and vectorizes.
        self.row(index).iter().map(|value| value * 0.0).sum::<f32>() == 0.0
    }
}
