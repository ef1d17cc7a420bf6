//! What an experiment leaves on disk, and how it survives a kill at any instant.
//!
//! ```text
//! <root>/experiment.json                   resolved configuration and provenance; a folder belongs to one configuration
//! <root>/models/<name>.json                the model, dtype and kernel set that the first process used
//! <root>/journals/<process>.jsonl         what each process did and when: tells how fast things go
//! <root>/runs/<ab>/<run_id>/
//!     claim                                who works on the run now
//!     steps.<attempt>.jsonl                one row a step; every attempt writes a file of its own
//!     steps.<attempt>.jsonl.zst            the same of a done run, compressed where it is long
//!     failed.<attempt>.json                why an attempt ended without a result (infrastructure, never data)
//!     run.json                             the commit: synced, then linked into place once
//! ```
//!
//! A lease cannot fence a writer that was only paused, so nothing here trusts one: an attempt never
//! writes into another's file, and of all attempts the first to `link()` its `run.json` is the run.
//! The claim only saves work.
//!
//! Each row carries a chain value over itself and all rows before it, so a log that was edited or
//! cut says at which line.

mod chain;
mod claim;
mod closing_table;
mod disk;
mod error;
mod experiment_record;
mod export;
mod folder;
mod journal;
mod packed;
mod parquet_sheet;
mod raw_json;
mod row;
mod run_record;
mod status;
mod store;
mod throughput;
mod totals;
mod writer;

pub use chain::Chain;
pub use claim::{Claim, ClaimOutcome, Owner};
pub use closing_table::{ClosingRow, closing_table};
pub use error::{ConfigDifference, ResultsError};
pub use experiment_record::{ExperimentRecord, ModelRecord, Provenance};
pub use export::{ExportFormat, ExportSummary, ExportTable, export};
pub use folder::{RunAttempt, RunFailure, RunFolder};
pub use journal::{Journal, JournalCounts, JournalEntry, JournalEvent, journals};
pub use raw_json::RawJson;
pub use row::{ActionRow, PairRow, ParseFailure, PromptMessage, ResultRow, SimilarityRow, StepRow};
pub use run_record::{CrashRecord, RowsRecord, RunRecord, Timing};
pub use status::{RunState, Status, status};
pub use store::Store;
pub use throughput::Throughput;
pub use totals::RunTotals;
pub use writer::{AttemptWriter, Committed};

/// Version of everything that this crate writes; a folder of another version is refused by name.
pub const SCHEMA_VERSION: u32 = 1;
