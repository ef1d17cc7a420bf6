//! An experiment's results on disk, written so that they survive a kill at any instant.
//!
//! ```text
//! <root>/experiment.json             resolved configuration and provenance; one per folder
//! <root>/models/<name>.json          model, dtype and kernel set that the first process used
//! <root>/journals/<process>.jsonl    progress of each process, for `status`
//! <root>/processes/<process>         identity of each process, to which its claims are hard links
//! <root>/runs/<ab>/<run_id>/
//!     claim                          the process that works on the run now
//!     steps.<attempt>.jsonl          one row per step; each attempt writes its own file
//!     steps.<attempt>.jsonl.zst      the same for a committed run, compressed if it is long
//!     failed.<attempt>.json          why an attempt ended without a result
//!     run.json                       the commit: synced, then hard-linked into place once
//! ```
//!
//! A lease cannot stop a writer that was only paused, so correctness does not depend on leases: an
//! attempt never writes into the log of another, and the first attempt that hard-links its
//! `run.json` into place is the committed one. The claim only avoids duplicate work.
//!
//! Each row carries a hash of itself and all earlier rows, so that an edited or truncated log is
//! reported with the line number.
//!
//! Modules in dependency order; each imports only from those listed earlier: schema, error, disk;
//! chain, raw_json, records and rows; owner, claim, owner_file; attempt_writer, packed_log,
//! run_folder; journal, throughput; store; status; sheet.
mod accumulated;
mod attempt_writer;
mod chain;
mod claim;
mod closing_table;
mod disk;
mod error;
mod experiment_record;
mod journal;
mod owner;
mod owner_file;
mod packed_log;
mod raw_json;
mod row;
mod run_folder;
mod run_record;
mod schema;
mod sheet;
mod status;
mod step_outline;
mod store;
mod stored_row;
mod throughput;
mod totals;

pub use accumulated::{DoseRow, ExposureRow};
pub use attempt_writer::{AttemptWriter, Committed};
pub use chain::Chain;
pub use claim::{Claim, ClaimOutcome};
pub use closing_table::{ClosingRow, aligned, closing_table};
pub use error::{ConfigDifference, ResultsError};
pub use experiment_record::{ExperimentRecord, ModelRecord, Provenance};
pub use journal::{Journal, JournalCounts, JournalEntry, JournalEvent, journals};
pub use owner::Owner;
pub use raw_json::RawJson;
pub use row::{ActionRow, PairRow, ParseFailure, PromptMessage, ResultRow, SimilarityRow, StepRow};
pub use run_folder::{RunAttempt, RunFolder};
pub use run_record::{
    CrashRecord, RiskRecord, RowsRecord, RunFailure, RunMetrics, RunRecord, Timing,
};
pub use schema::SCHEMA_VERSION;
pub use sheet::{CellValue, ColumnKind, ExportFormat, Sheet, SheetColumn};
pub use status::{RunState, Status, status};
pub use step_outline::{StepOutline, Success, ToolName};
pub use store::Store;
pub use throughput::Throughput;
pub use totals::RunTotals;
