//! The definition of a column: documentation, type and value.

use results::{CellValue, ColumnKind};
use serde::Serialize;

/// Null rule of a column that always has a value.
pub(super) const NEVER: &str = "never";
/// Null rule of what design v1 does not record.
pub(super) const IN_V1: &str = "in design v1";

/// Name, type and meaning of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDoc {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnKind,
    /// Unit of the values; empty without one.
    pub unit: &'static str,
    pub meaning: String,
    /// When the column is null.
    pub null: String,
}

/// A column of a table whose rows are made from values of type `S`.
pub(super) struct ExportColumn<S> {
    pub doc: ColumnDoc,
    value: Box<ValueOf<S>>,
}

type ValueOf<S> = dyn for<'a> Fn(&'a S) -> CellValue<'a>;

impl<S> ExportColumn<S> {
    /// A column of the given type without unit that is never null.
    pub fn new(
        kind: ColumnKind,
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        let (name, meaning, null) = (name.into(), meaning.into(), NEVER.into());
        let doc = ColumnDoc { name, kind, unit: "", meaning, null };
        ExportColumn { doc, value: Box::new(value) }
    }

    pub fn whole(
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        Self::new(ColumnKind::Whole, name, meaning, value)
    }

    pub fn number(
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        Self::new(ColumnKind::Number, name, meaning, value)
    }

    pub fn flag(
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        Self::new(ColumnKind::Flag, name, meaning, value)
    }

    pub fn text(
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        Self::new(ColumnKind::Text, name, meaning, value)
    }

    pub fn json(
        name: impl Into<String>,
        meaning: impl Into<String>,
        value: impl for<'a> Fn(&'a S) -> CellValue<'a> + 'static,
    ) -> Self {
        Self::new(ColumnKind::Json, name, meaning, value)
    }

    pub fn unit(mut self, unit: &'static str) -> Self {
        self.doc.unit = unit;
        self
    }

    /// When the column is null.
    pub fn null(mut self, when: impl Into<String>) -> Self {
        self.doc.null = when.into();
        self
    }

    pub fn value_in<'a>(&self, row: &'a S) -> CellValue<'a> {
        (self.value)(row)
    }
}
