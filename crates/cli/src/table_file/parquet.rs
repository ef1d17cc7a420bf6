//! Reads Parquet: flat columns of numbers, booleans and texts.

use super::value::{TypedValue, typed_column};
use super::{ReadColumn, bad, no_column};
use crate::failure::Failure;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::fs::File;
use std::path::Path;

pub fn read(file: File, path: &Path, columns: &[&str]) -> Result<Vec<ReadColumn>, Failure> {
    let reader = SerializedFileReader::new(file).map_err(|error| broken(path, &error))?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr_ptr();
    let read = |name: &&str| {
        let leaf = leaf(&schema, path, name)?;
        let kind = ParquetValueKind::of(&schema.column(leaf)).map_err(|found| {
            let expected = "expected numbers, booleans or texts";
            bad(path, format!("column {name}: {expected}, found {found}"))
        })?;
        let mut values = Vec::new();
        for group in 0..metadata.num_row_groups() {
            check_range(metadata.row_group(group).column(leaf))
                .map_err(|error| broken(path, &error))?;
            let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
            let column =
                reader.get_row_group(group).and_then(|group| group.get_column_reader(leaf));
            column
                .and_then(|column| push_group(column, kind, rows, &mut values))
                .map_err(|error| broken(path, &error))?;
        }
        Ok(typed_column(values))
    };
    columns.iter().map(read).collect()
}

/// Fails if the bytes of a column begin or end before the file: the library would panic.
fn check_range(column: &ColumnChunkMetaData) -> Result<(), ParquetError> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    match start.min(column.compressed_size()) {
        0.. => Ok(()),
        _ => Err(ParquetError::General("a column begins before the file".to_owned())),
    }
}

/// The leaf of the schema that is the column of this name.
fn leaf(schema: &SchemaDescriptor, path: &Path, name: &str) -> Result<usize, Failure> {
    let names: Vec<&str> =
        schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
    let mut found =
        schema.columns().iter().enumerate().filter(|(_, c)| c.path().parts()[0] == name);
    match (found.next(), found.next()) {
        (None, _) => Err(no_column(path, name, &names)),
        (Some((leaf, column)), None) if column.path().parts().len() == 1 => Ok(leaf),
        _ => Err(bad(
            path,
            format!(
                "column {name}: expected one column of numbers, booleans or texts, found several \
                 of this name, or lists or structures"
            ),
        )),
    }
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParquetValueKind {
    Flag,
    Whole,
    WholeUnsigned,
    /// Whole numbers of 10^-scale.
    Decimal {
        scale: i32,
    },
    Float,
    Text,
    /// The column of nothing but nulls.
    Null,
}

impl ParquetValueKind {
    /// # Errors
    /// What the column holds instead.
    fn of(column: &ColumnDescriptor) -> Result<ParquetValueKind, String> {
        let dates = "; expected times are numbers from each subject's start, such as days";
        match (column.logical_type_ref(), column.converted_type(), column.physical_type()) {
            _ if column.max_rep_level() > 0 => Err("lists".to_owned()),
            (Some(LogicalType::Unknown), ..) => Ok(ParquetValueKind::Null),
            (Some(LogicalType::Decimal(_)), ..) | (_, ConvertedType::DECIMAL, _) => {
                Ok(ParquetValueKind::Decimal { scale: column.type_scale() })
            }
            (Some(LogicalType::Date), ..) | (_, ConvertedType::DATE, _) => {
                Err(format!("dates{dates}"))
            }
            (Some(LogicalType::Timestamp(_)), ..)
            | (_, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS, _)
            | (.., Physical::INT96) => Err(format!("points in time{dates}")),
            (Some(LogicalType::Time(_)), ..)
            | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS, _) => {
                Err(format!("times of day{dates}"))
            }
            (.., Physical::BOOLEAN) => Ok(ParquetValueKind::Flag),
            (Some(LogicalType::Integer(kind)), ..) if !kind.is_signed => {
                Ok(ParquetValueKind::WholeUnsigned)
            }
            (
                _,
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64,
                _,
            ) => Ok(ParquetValueKind::WholeUnsigned),
            (.., Physical::INT32 | Physical::INT64) => Ok(ParquetValueKind::Whole),
            (.., Physical::FLOAT | Physical::DOUBLE) => Ok(ParquetValueKind::Float),
            (
                None | Some(LogicalType::String | LogicalType::Enum | LogicalType::Json),
                _,
                Physical::BYTE_ARRAY,
            ) => Ok(ParquetValueKind::Text),
            (logical, _, physical) => Err(match logical {
                Some(logical) => format!("{physical} of type {logical:?}"),
                None => physical.to_string(),
            }),
        }
    }
}

/// Adds the values of a row group.
fn push_group(
    column: ColumnReader,
    kind: ParquetValueKind,
    rows: usize,
    to: &mut Vec<TypedValue>,
) -> Result<(), ParquetError> {
    match column {
        ColumnReader::BoolColumnReader(column) => {
            push_values(column, rows, to, |flag| Ok(TypedValue::Flag(*flag)))
        }
        ColumnReader::Int32ColumnReader(column) => push_values(column, rows, to, |number| {
            Ok(match kind {
                ParquetValueKind::WholeUnsigned => {
                    TypedValue::whole(i64::from(number.cast_unsigned()))
                }
                _ => whole(i64::from(*number), kind),
            })
        }),
        ColumnReader::Int64ColumnReader(column) => push_values(column, rows, to, |number| {
            Ok(match kind {
                ParquetValueKind::WholeUnsigned => {
                    TypedValue::whole_unsigned(number.cast_unsigned())
                }
                _ => whole(*number, kind),
            })
        }),
        ColumnReader::FloatColumnReader(column) => {
            push_values(column, rows, to, |number| Ok(TypedValue::Number(f64::from(*number))))
        }
        ColumnReader::DoubleColumnReader(column) => {
            push_values(column, rows, to, |number| Ok(TypedValue::Number(*number)))
        }
        ColumnReader::ByteArrayColumnReader(column) => {
            push_values(column, rows, to, |bytes| from_bytes(bytes.data(), kind))
        }
        ColumnReader::FixedLenByteArrayColumnReader(column) => {
            push_values(column, rows, to, |bytes| from_bytes(bytes.data(), kind))
        }
        ColumnReader::Int96ColumnReader(_) => Err(ParquetError::General("INT96".to_owned())),
    }
}

fn push_values<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    rows: usize,
    to: &mut Vec<TypedValue>,
    convert: impl Fn(&T::T) -> Result<TypedValue, ParquetError>,
) -> Result<(), ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (read, ..) = column.read_records(rows, Some(&mut levels), None, &mut values)?;
    if read != rows {
        return Err(ParquetError::General(format!("expected {rows} values, found {read}")));
    }
    let mut values = values.iter().map(convert);
    // A required column has no levels. In a flat column, level 0 is null.
    levels.resize(rows, 1);
    for level in levels {
        let value = if level == 0 { None } else { values.next() };
        to.push(value.unwrap_or(Ok(TypedValue::Missing))?);
    }
    Ok(())
}

fn whole(number: i64, kind: ParquetValueKind) -> TypedValue {
    match kind {
        ParquetValueKind::Decimal { scale } => {
            TypedValue::Number(number as f64 / 10_f64.powi(scale))
        }
        ParquetValueKind::Null => TypedValue::Missing,
        _ => TypedValue::whole(number),
    }
}

/// A text, or a decimal number as a big-endian number of up to 16 bytes.
fn from_bytes(bytes: &[u8], kind: ParquetValueKind) -> Result<TypedValue, ParquetError> {
    match kind {
        ParquetValueKind::Decimal { scale } if bytes.len() <= 16 => {
            let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
            let number =
                bytes.iter().fold(sign, |number: i128, byte| number << 8 | i128::from(*byte));
            Ok(TypedValue::Number(number as f64 / 10_f64.powi(scale)))
        }
        ParquetValueKind::Text => match str::from_utf8(bytes) {
            Ok(text) => Ok(TypedValue::Text(text.to_owned())),
            Err(_) => Err(ParquetError::General("a text is not UTF-8".to_owned())),
        },
        ParquetValueKind::Null => Ok(TypedValue::Missing),
        _ => Err(ParquetError::General("a decimal number has over 16 bytes".to_owned())),
    }
}

fn broken(path: &Path, error: &ParquetError) -> Failure {
    match error {
        ParquetError::NYI(text) => {
            bad(path, format!("this kind of Parquet is not supported: {text}"))
        }
        ParquetError::General(text) if text.contains("feature") => bad(
            path,
            format!(
                "expected compression with snappy, gzip, zstd or lz4, or none, found another: \
                 {text}"
            ),
        ),
        error => bad(
            path,
            format!("expected a complete Parquet file, found a truncated or damaged one: {error}"),
        ),
    }
}
