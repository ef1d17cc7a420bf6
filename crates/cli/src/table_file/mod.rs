//! Reads tables that people have, as CSV, JSONL or Parquet, into memory: the columns that are asked
//! for, as numbers and texts. Booleans are 0 and 1.

mod csv;
mod jsonl;
mod parquet;
mod value;

use crate::failure::Failure;
use analysis::frame::{Column, Frame};
use base::closest_word;
use error_kind::ErrorKind;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// A table, or a part of its columns.
pub struct TableFile {
    pub frame: Frame,
    /// Words that were read as missing values: the column, and the first such word in it. Empty
    /// fields and nulls are not listed.
    pub missing_words: Vec<(String, String)>,
}

/// A column as a reader returns it.
struct ReadColumn {
    column: Column,
    missing_word: Option<String>,
}

/// Reads these columns of a table. The ending of the name says the format: .csv, .tsv, .jsonl,
/// .ndjson, .parquet or .pq.
///
/// # Errors
/// `NotFound` or `Io`: the file cannot be read. `Usage`: the ending or a column is unknown.
/// `BadInput`: the content is no table of this format, or a table without rows.
pub fn read(path: &Path, columns: &[&str]) -> Result<TableFile, Failure> {
    let format = TableFormat::of(path)?;
    let file = open(path, format)?;
    let read = match format {
        TableFormat::Csv { separator } => csv::read(file, path, separator, columns)?,
        TableFormat::Jsonl => jsonl::read(file, path, columns)?,
        TableFormat::Parquet => parquet::read(file, path, columns)?,
    };
    if read.first().is_some_and(|read| read.column.is_empty()) {
        return Err(bad(path, "expected rows, found the names of columns only"));
    }
    let mut table = TableFile { frame: Frame::new(), missing_words: Vec::new() };
    for (name, read) in columns.iter().zip(read) {
        table.frame.push(*name, read.column)?;
        table.missing_words.extend(read.missing_word.map(|word| ((*name).to_owned(), word)));
    }
    Ok(table)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableFormat {
    Csv { separator: u8 },
    Jsonl,
    Parquet,
}

impl TableFormat {
    fn of(path: &Path) -> Result<TableFormat, Failure> {
        if path.is_dir() {
            return Err(Failure::usage(format!(
                "{}: expected a table, found a folder; vendomini export DIR --table intervals \
                 --out intervals.parquet writes a table of an experiment",
                path.display()
            )));
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Ok(TableFormat::Csv { separator: b',' }),
            "tsv" => Ok(TableFormat::Csv { separator: b'\t' }),
            "jsonl" | "ndjson" => Ok(TableFormat::Jsonl),
            "parquet" | "pq" => Ok(TableFormat::Parquet),
            "gz" | "zst" | "bz2" | "xz" | "zip" => Err(Failure::usage(format!(
                "{}: expected a table, found a compressed file; unpack it first",
                path.display()
            ))),
            _ => Err(Failure::usage(format!(
                "{}: expected a file name that ends with .csv, .tsv, .jsonl, .ndjson, .parquet or \
                 .pq",
                path.display()
            ))),
        }
    }
}

/// Contents that files of other formats begin with: the bytes, what they are, and what to do.
const OTHER_FORMATS: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "gzip-compressed data; unpack it with gunzip first"),
    (b"\x28\xb5\x2f\xfd", "data compressed with zstd; unpack it with unzstd first"),
    (b"BZh", "data compressed with bzip2; unpack it with bunzip2 first"),
    (b"PK\x03\x04", "a zip archive or a workbook of Excel; save the sheet as CSV"),
    (b"\xff\xfe", "text in UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16; save it as UTF-8"),
    (b"ARROW1", "an Arrow or Feather file; save it as Parquet"),
    (PARQUET_MAGIC, "a Parquet file; let its name end with .parquet"),
];

const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Opens a file whose first bytes are not those of another format.
fn open(path: &Path, format: TableFormat) -> Result<File, Failure> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(ErrorKind::NotFound, format!("{}: no such file", path.display()))
        }
        _ => Failure::io(&format!("cannot read {}", path.display()), &error),
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    (&file).take(8).read_to_end(&mut head).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if head.is_empty() {
        return Err(bad(path, "expected a table, found an empty file"));
    }
    let is_parquet = head.starts_with(PARQUET_MAGIC);
    let other = OTHER_FORMATS.iter().find(|(magic, _)| head.starts_with(magic));
    match (format, other) {
        (TableFormat::Parquet, _) if is_parquet => Ok(file),
        (TableFormat::Parquet, None) => Err(bad(
            path,
            "expected a Parquet file, found other content; if it is CSV, let its name end with \
             .csv",
        )),
        (_, None) => Ok(file),
        (_, Some((_, found))) => Err(bad(path, format!("expected a table, found {found}"))),
    }
}

/// The error that the content of a file is wrong.
fn bad(path: &Path, what: impl AsRef<str>) -> Failure {
    let text = format!("{}: {}", path.display(), what.as_ref());
    Failure::new(ErrorKind::BadInput, text)
}

/// Names listed in the error of an unknown column.
const NAMES_LISTED_MAX: usize = 30;

/// The error that a table lacks a column.
fn no_column(path: &Path, name: &str, known: &[&str]) -> Failure {
    let near = closest_word(name, known.iter().copied());
    let near = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
    let more = match known.len().saturating_sub(NAMES_LISTED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = known[..known.len().min(NAMES_LISTED_MAX)].join(", ");
    Failure::usage(format!(
        "{}: column {name} not found{near}; the columns are {listed}{more}",
        path.display()
    ))
}

#[cfg(test)]
mod tests;
