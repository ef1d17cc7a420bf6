//! Renders an [`analysis::document::Document`]. Pure: the same document gives the same bytes; no
//! files, no clock, no network.
//!
//! - [`html`]: one page with all figures and tables, which opens from a file.
//! - [`svg`]: one figure as a file of its own.
//! - [`latex`], [`csv`]: one table.
//! - [`json`]: the document, every number with all digits.

mod anchor;
mod chart;
mod csv;
mod escape;
mod json;
mod latex;
mod number;
mod page;

pub use chart::standalone as svg;
pub use csv::csv;
pub use json::{SCHEMA, json};
pub use latex::latex;
pub use page::{Colophon, html};
