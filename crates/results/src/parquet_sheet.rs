//! Writes a table as Parquet: one nullable column per name, in row groups of bounded size.
//! Structured values are JSON text, as in CSV.

use crate::error::ResultsError;
use base::unpoisoned;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Buffered bytes (length of texts, 8 bytes for any other value) at which a row group is written.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// Buffered rows at which a row group is written.
const GROUP_ROWS_MAX: usize = 100_000;

/// Type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Whole,
    Number,
    Flag,
    Text,
}

impl ColumnKind {
    /// The narrowest type that can hold all non-null values; `Text` if there are none.
    pub fn of<'a>(values: impl Iterator<Item = &'a Value>) -> ColumnKind {
        let kind = |value: &Value| match value {
            Value::Number(number) if number.as_i64().is_some() => ColumnKind::Whole,
            Value::Number(_) => ColumnKind::Number,
            Value::Bool(_) => ColumnKind::Flag,
            _ => ColumnKind::Text,
        };
        let kinds = values.filter(|value| !value.is_null()).map(kind);
        let wider = |a, b| match (a, b) {
            (a, b) if a == b => a,
            (ColumnKind::Whole, ColumnKind::Number) | (ColumnKind::Number, ColumnKind::Whole) => {
                ColumnKind::Number
            }
            _ => ColumnKind::Text,
        };
        kinds.reduce(wider).unwrap_or(ColumnKind::Text)
    }
}

/// In-memory output of the Parquet writer, which must own an output that is `Send`; `ParquetSheet`
/// copies the bytes to `out`.
#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        unpoisoned(self.0.lock()).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a table as a Parquet file.
pub(crate) struct ParquetSheet<'a> {
    out: &'a mut dyn Write,
    out_name: &'a Path,
    buffer: SharedBuffer,
    writer: SerializedFileWriter<SharedBuffer>,
    columns: Vec<(String, ColumnKind)>,
    /// Values of the next row group, `[column][row]`.
    pending: Vec<Vec<Value>>,
    pending_bytes: usize,
    rows: usize,
}

impl<'a> ParquetSheet<'a> {
    pub fn new(
        out: &'a mut dyn Write,
        out_name: &'a Path,
        columns: Vec<(String, ColumnKind)>,
    ) -> Result<Self, ResultsError> {
        let buffer = SharedBuffer::default();
        let writer = schema(&columns).and_then(|schema| {
            let properties = Arc::new(WriterProperties::builder().build());
            SerializedFileWriter::new(buffer.clone(), Arc::new(schema), properties)
        });
        let pending = vec![Vec::new(); columns.len()];
        let writer = writer.map_err(|error| broken(out_name, error))?;
        Ok(ParquetSheet {
            out,
            out_name,
            buffer,
            writer,
            columns,
            pending,
            pending_bytes: 0,
            rows: 0,
        })
    }

    pub fn row(&mut self, mut row: Map<String, Value>) -> Result<(), ResultsError> {
        for ((name, kind), pending) in self.columns.iter().zip(&mut self.pending) {
            let value = row.shift_remove(name).unwrap_or(Value::Null);
            let value = match (kind, value) {
                (_, Value::Null) => Value::Null,
                (ColumnKind::Text, Value::String(text)) => Value::String(text),
                (ColumnKind::Text, other) => Value::String(other.to_string()),
                (_, value) => value,
            };
            self.pending_bytes += value.as_str().map_or(8, str::len);
            pending.push(value);
        }
        self.rows += 1;
        if self.pending_bytes >= GROUP_BYTES_MAX || self.pending[0].len() >= GROUP_ROWS_MAX {
            self.group()?;
        }
        Ok(())
    }

    /// Writes the last row group and the footer; returns the number of rows.
    pub fn finish(mut self) -> Result<usize, ResultsError> {
        if self.pending.first().is_some_and(|column| !column.is_empty()) {
            self.group()?;
        }
        self.writer.finish().map_err(|error| broken(self.out_name, error))?;
        self.copy_out()?;
        Ok(self.rows)
    }

    fn group(&mut self) -> Result<(), ResultsError> {
        let pending: Vec<Vec<Value>> = self.pending.iter_mut().map(std::mem::take).collect();
        write_group(&mut self.writer, &self.columns, &pending)
            .map_err(|error| broken(self.out_name, error))?;
        self.pending_bytes = 0;
        self.copy_out()
    }

    fn copy_out(&mut self) -> Result<(), ResultsError> {
        let bytes = std::mem::take(&mut *unpoisoned(self.buffer.0.lock()));
        self.out
            .write_all(&bytes)
            .map_err(|source| ResultsError::from_io("write", self.out_name, None, source))
    }
}

fn schema(columns: &[(String, ColumnKind)]) -> Result<Type, ParquetError> {
    let column = |(name, kind): &(String, ColumnKind)| {
        let (physical, logical) = match kind {
            ColumnKind::Whole => (Physical::INT64, None),
            ColumnKind::Number => (Physical::DOUBLE, None),
            ColumnKind::Flag => (Physical::BOOLEAN, None),
            ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let column =
            Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        column.with_logical_type(logical).build().map(Arc::new)
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("rows").with_fields(columns).build()
}

fn write_group(
    writer: &mut SerializedFileWriter<SharedBuffer>,
    columns: &[(String, ColumnKind)],
    pending: &[Vec<Value>],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for ((name, kind), values) in columns.iter().zip(pending) {
        let missing = || ParquetError::General(format!("column {name} is not in the schema"));
        let mut column = group.next_column()?.ok_or_else(missing)?;
        let levels: Vec<i16> = values.iter().map(|value| i16::from(!value.is_null())).collect();
        let known = values.iter().filter(|value| !value.is_null());
        match (kind, column.untyped()) {
            (ColumnKind::Whole, ColumnWriter::Int64ColumnWriter(to)) => {
                let values: Vec<i64> = known.map(|value| value.as_i64().unwrap_or(0)).collect();
                to.write_batch(&values, Some(&levels), None)?
            }
            (ColumnKind::Number, ColumnWriter::DoubleColumnWriter(to)) => {
                let values: Vec<f64> =
                    known.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect();
                to.write_batch(&values, Some(&levels), None)?
            }
            (ColumnKind::Flag, ColumnWriter::BoolColumnWriter(to)) => {
                let values: Vec<bool> =
                    known.map(|value| value.as_bool().unwrap_or(false)).collect();
                to.write_batch(&values, Some(&levels), None)?
            }
            (ColumnKind::Text, ColumnWriter::ByteArrayColumnWriter(to)) => {
                let values: Vec<ByteArray> =
                    known.map(|value| value.as_str().unwrap_or("").into()).collect();
                to.write_batch(&values, Some(&levels), None)?
            }
            _ => {
                return Err(ParquetError::General(format!(
                    "column {name} has another type than its schema"
                )));
            }
        };
        column.close()?;
    }
    group.close().map(drop)
}

fn broken(path: &Path, error: ParquetError) -> ResultsError {
    ResultsError::from_io("write", path, None, std::io::Error::other(error))
}
