//! Writes a table as Parquet: one nullable column per name, in row groups of bounded size,
//! dictionary-encoded and compressed with zstd.

use super::{CellValue, ColumnKind, SheetColumn};
use crate::error::ResultsError;
use base::unpoisoned;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Buffered bytes (length of texts, 8 bytes for any other value) at which a row group is written.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// Buffered rows at which a row group is written.
const GROUP_ROWS_MAX: usize = 100_000;

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
pub(super) struct ParquetSheet<'a> {
    out: &'a mut dyn Write,
    out_name: &'a Path,
    buffer: SharedBuffer,
    writer: SerializedFileWriter<SharedBuffer>,
    /// Values of the next row group.
    pending: Vec<PendingColumn>,
    pending_bytes: usize,
    pending_rows: usize,
}

/// Values of one column in the next row group. `levels` has a 1 for each value and a 0 for each
/// null, `values` only the values.
struct PendingColumn {
    name: String,
    levels: Vec<i16>,
    values: PendingValues,
}

enum PendingValues {
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Flag(Vec<bool>),
    Text(Vec<ByteArray>),
}

impl<'a> ParquetSheet<'a> {
    pub fn new(
        out: &'a mut dyn Write,
        out_name: &'a Path,
        columns: &[SheetColumn],
    ) -> Result<Self, ResultsError> {
        let buffer = SharedBuffer::default();
        let writer = schema(columns).and_then(|schema| {
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let properties = WriterProperties::builder()
                .set_compression(zstd)
                .set_dictionary_enabled(true)
                .build();
            SerializedFileWriter::new(buffer.clone(), Arc::new(schema), Arc::new(properties))
        });
        let writer = writer.map_err(|error| broken(out_name, error))?;
        let pending = columns.iter().map(PendingColumn::new).collect();
        let (pending_bytes, pending_rows) = (0, 0);
        Ok(ParquetSheet { out, out_name, buffer, writer, pending, pending_bytes, pending_rows })
    }

    pub fn row(&mut self, values: &[CellValue<'_>]) -> Result<(), ResultsError> {
        for (column, value) in self.pending.iter_mut().zip(values) {
            let bytes = column.push(value).map_err(|error| broken(self.out_name, error))?;
            self.pending_bytes += bytes;
        }
        self.pending_rows += 1;
        if self.pending_bytes >= GROUP_BYTES_MAX || self.pending_rows >= GROUP_ROWS_MAX {
            self.group()?;
        }
        Ok(())
    }

    /// Writes the last row group and the footer.
    pub fn finish(mut self) -> Result<(), ResultsError> {
        if self.pending_rows > 0 {
            self.group()?;
        }
        self.writer.finish().map_err(|error| broken(self.out_name, error))?;
        self.copy_out()?;
        self.out
            .flush()
            .map_err(|source| ResultsError::from_io("write", self.out_name, None, source))
    }

    fn group(&mut self) -> Result<(), ResultsError> {
        write_group(&mut self.writer, &mut self.pending)
            .map_err(|error| broken(self.out_name, error))?;
        (self.pending_bytes, self.pending_rows) = (0, 0);
        self.copy_out()
    }

    fn copy_out(&mut self) -> Result<(), ResultsError> {
        let bytes = std::mem::take(&mut *unpoisoned(self.buffer.0.lock()));
        self.out
            .write_all(&bytes)
            .map_err(|source| ResultsError::from_io("write", self.out_name, None, source))
    }
}

impl PendingColumn {
    fn new(column: &SheetColumn) -> PendingColumn {
        let values = match column.kind {
            ColumnKind::Whole => PendingValues::Whole(Vec::new()),
            ColumnKind::Number => PendingValues::Number(Vec::new()),
            ColumnKind::Flag => PendingValues::Flag(Vec::new()),
            ColumnKind::Text | ColumnKind::Json => PendingValues::Text(Vec::new()),
        };
        PendingColumn { name: column.name.clone(), levels: Vec::new(), values }
    }

    /// Adds a value; returns the bytes that it takes.
    fn push(&mut self, value: &CellValue<'_>) -> Result<usize, ParquetError> {
        self.levels.push(i16::from(*value != CellValue::Null));
        match (&mut self.values, value) {
            (_, CellValue::Null) => {}
            (PendingValues::Whole(to), CellValue::Whole(number)) => to.push(*number),
            (PendingValues::Number(to), CellValue::Number(number)) => to.push(*number),
            (PendingValues::Number(to), CellValue::Whole(number)) => to.push(*number as f64),
            (PendingValues::Flag(to), CellValue::Flag(flag)) => to.push(*flag),
            (PendingValues::Text(to), CellValue::Text(text) | CellValue::Json(text)) => {
                return Ok(push_text(to, text));
            }
            _ => return Err(other_type(&self.name)),
        }
        Ok(8)
    }

    fn clear(&mut self) {
        self.levels.clear();
        match &mut self.values {
            PendingValues::Whole(values) => values.clear(),
            PendingValues::Number(values) => values.clear(),
            PendingValues::Flag(values) => values.clear(),
            PendingValues::Text(values) => values.clear(),
        }
    }
}

/// Adds a text; one that equals the last one, as in the key columns of a run, shares its bytes.
fn push_text(to: &mut Vec<ByteArray>, text: &str) -> usize {
    match to.last().filter(|last| last.data() == text.as_bytes()) {
        Some(last) => {
            let last = last.clone();
            to.push(last);
            8
        }
        None => {
            to.push(text.into());
            8 + text.len()
        }
    }
}

fn schema(columns: &[SheetColumn]) -> Result<Type, ParquetError> {
    let column = |SheetColumn { name, kind }: &SheetColumn| {
        let (physical, logical) = match kind {
            ColumnKind::Whole => (Physical::INT64, None),
            ColumnKind::Number => (Physical::DOUBLE, None),
            ColumnKind::Flag => (Physical::BOOLEAN, None),
            ColumnKind::Text | ColumnKind::Json => {
                (Physical::BYTE_ARRAY, Some(LogicalType::String))
            }
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
    pending: &mut [PendingColumn],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for from in pending {
        let mut column = group.next_column()?.ok_or_else(|| other_type(&from.name))?;
        let levels = Some(from.levels.as_slice());
        match (&from.values, column.untyped()) {
            (PendingValues::Whole(values), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(values, levels, None)?
            }
            (PendingValues::Number(values), ColumnWriter::DoubleColumnWriter(to)) => {
                to.write_batch(values, levels, None)?
            }
            (PendingValues::Flag(values), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(values, levels, None)?
            }
            (PendingValues::Text(values), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(values, levels, None)?
            }
            _ => return Err(other_type(&from.name)),
        };
        column.close()?;
        from.clear();
    }
    group.close().map(drop)
}

fn other_type(name: &str) -> ParquetError {
    ParquetError::General(format!("column {name} has another type than its schema"))
}

fn broken(path: &Path, error: ParquetError) -> ResultsError {
    ResultsError::from_io("write", path, None, std::io::Error::other(error))
}
