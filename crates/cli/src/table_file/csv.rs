//! Reads CSV after RFC 4180, and the same with tabs.

use super::value::text_column;
use super::{ReadColumn, bad, no_column};
use crate::failure::Failure;
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Reads these columns. Spaces around a field are not part of it; a byte order mark is skipped.
pub fn read(
    file: File,
    path: &Path,
    separator: u8,
    columns: &[&str],
) -> Result<Vec<ReadColumn>, Failure> {
    let mut reader =
        ReaderBuilder::new().delimiter(separator).trim(Trim::All).from_reader(BufReader::new(file));
    let places = places(&mut reader, path, separator, columns)?;
    let mut fields: Vec<Vec<String>> = vec![Vec::new(); places.len()];
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| broken(path, &error))? {
        for (fields, place) in fields.iter_mut().zip(&places) {
            // The reader checks that each record has as many fields as the head.
            fields.push(record.get(*place).unwrap_or_default().to_owned());
        }
    }
    Ok(fields.into_iter().map(text_column).collect())
}

/// Where the columns are in a record.
fn places(
    reader: &mut Reader<BufReader<File>>,
    path: &Path,
    separator: u8,
    columns: &[&str],
) -> Result<Vec<usize>, Failure> {
    let head = reader.headers().map_err(|error| broken(path, &error))?;
    let names: Vec<&str> = head.iter().collect();
    if let [name] = names[..] {
        check_separator(path, separator, name)?;
    }
    let place = |column: &&str| {
        let mut found = names.iter().enumerate().filter(|(_, name)| *name == column);
        match (found.next(), found.next()) {
            (None, _) => Err(no_column(path, column, &names)),
            (Some(_), Some(_)) => Err(bad(
                path,
                format!("expected one column {column}, found several; give each its own name"),
            )),
            (Some((place, _)), None) => Ok(place),
        }
    };
    columns.iter().map(place).collect()
}

/// Fails if the head, a single field, has other separators.
fn check_separator(path: &Path, expected: u8, head: &str) -> Result<(), Failure> {
    const SEPARATORS: [(char, &str); 3] = [(',', "commas"), (';', "semicolons"), ('\t', "tabs")];
    let Some((found, name)) =
        SEPARATORS.into_iter().find(|(separator, _)| head.contains(*separator))
    else {
        return Ok(());
    };
    let expected = if expected == b',' { "commas" } else { "tabs" };
    let advice = match found {
        ';' => "save it with commas, and with points in numbers (1.5)",
        '\t' => "let its name end with .tsv",
        _ => "let its name end with .csv",
    };
    Err(bad(path, format!("expected fields separated by {expected}, found {name}; {advice}")))
}

fn broken(path: &Path, error: &csv::Error) -> Failure {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(String::new(), |pos| format!("line {}: ", pos.line()));
            let fields = format!("expected {expected_len} fields, as in the head, found {len}");
            bad(
                path,
                format!("{line}{fields}; a field with commas or quotes needs quotes around it"),
            )
        }
        ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(String::new(), |pos| format!("line {}: ", pos.line()));
            bad(path, format!("{line}expected text in UTF-8, found other bytes; save it as UTF-8"))
        }
        ErrorKind::Io(error) => Failure::io(&format!("cannot read {}", path.display()), error),
        _ => bad(path, format!("expected CSV: {error}")),
    }
}
