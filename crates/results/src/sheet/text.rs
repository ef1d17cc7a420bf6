//! Writes a table as CSV or JSONL, one line per row.

use super::{CellValue, SheetColumn};
use crate::error::ResultsError;
use std::io::Write;
use std::path::Path;

pub(super) struct TextSheet<'a> {
    out: &'a mut dyn Write,
    out_name: &'a Path,
    /// Text before each value of a row, and after the last one.
    before: Vec<String>,
    after: &'static str,
    csv: bool,
    /// The row in work.
    line: Vec<u8>,
    bytes: u64,
}

impl<'a> TextSheet<'a> {
    /// Begins a CSV file: writes the line of names.
    pub fn csv(
        out: &'a mut dyn Write,
        out_name: &'a Path,
        columns: &[SheetColumn],
    ) -> Result<Self, ResultsError> {
        let comma = |at: usize| if at == 0 { "" } else { "," }.to_string();
        let before = (0..columns.len()).map(comma).collect();
        let (after, line) = ("\r\n", Vec::new());
        let mut sheet = TextSheet { out, out_name, before, after, csv: true, line, bytes: 0 };
        let names: Vec<CellValue<'_>> = columns.iter().map(|c| c.name.as_str().into()).collect();
        sheet.row(&names)?;
        Ok(sheet)
    }

    pub fn jsonl(out: &'a mut dyn Write, out_name: &'a Path, columns: &[SheetColumn]) -> Self {
        let name = |(at, column): (usize, &SheetColumn)| {
            let begin = if at == 0 { '{' } else { ',' };
            format!("{begin}{}:", serde_json::Value::from(column.name.as_str()))
        };
        let before = columns.iter().enumerate().map(name).collect();
        let line = Vec::new();
        TextSheet { out, out_name, before, after: "}\n", csv: false, line, bytes: 0 }
    }

    pub fn row(&mut self, values: &[CellValue<'_>]) -> Result<(), ResultsError> {
        self.line.clear();
        for (before, value) in self.before.iter().zip(values) {
            self.line.extend_from_slice(before.as_bytes());
            match self.csv {
                true => push_csv(&mut self.line, value),
                false => push_json(&mut self.line, value),
            }
        }
        self.line.extend_from_slice(self.after.as_bytes());
        let fail = |source| ResultsError::from_io("write", self.out_name, Some(self.bytes), source);
        self.out.write_all(&self.line).map_err(fail)?;
        self.bytes += self.line.len() as u64;
        Ok(())
    }

    pub fn finish(self) -> Result<(), ResultsError> {
        let fail = |source| ResultsError::from_io("write", self.out_name, Some(self.bytes), source);
        self.out.flush().map_err(fail)
    }
}

fn push_csv(line: &mut Vec<u8>, value: &CellValue<'_>) {
    match value {
        CellValue::Null => {}
        CellValue::Text(text) | CellValue::Json(text) => push_field(line, text),
        other => push_json(line, other),
    }
}

/// An empty text is quoted, since an empty field is null.
fn push_field(line: &mut Vec<u8>, text: &str) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
    line.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}

fn push_json(line: &mut Vec<u8>, value: &CellValue<'_>) {
    // Writing numbers and texts into memory does not fail.
    let written = match value {
        CellValue::Null => line.write_all(b"null").map_err(serde_json::Error::io),
        CellValue::Whole(number) => serde_json::to_writer(line, number),
        CellValue::Number(number) => serde_json::to_writer(line, number),
        CellValue::Flag(flag) => serde_json::to_writer(line, flag),
        CellValue::Text(text) => serde_json::to_writer(line, text),
        CellValue::Json(text) => line.write_all(text.as_bytes()).map_err(serde_json::Error::io),
    };
    debug_assert!(written.is_ok(), "{written:?}");
}

#[cfg(test)]
mod tests {
    use super::super::{CellValue, ColumnKind, ExportFormat, Sheet, SheetColumn};
    use std::path::Path;

    #[test]
    fn csv_and_jsonl_tell_null_from_an_empty_text() {
        let columns = || {
            let kinds = [ColumnKind::Text, ColumnKind::Number, ColumnKind::Json];
            let named = kinds.iter().zip(["a,b", "x", "y"]);
            named.map(|(kind, name)| SheetColumn { name: name.into(), kind: *kind }).collect()
        };
        let rows: [[CellValue<'_>; 3]; 3] = [
            ["".into(), 0.1.into(), CellValue::json(&[1, 2])],
            [CellValue::Null, f64::NAN.into(), CellValue::json(&None::<u8>)],
            ["say \"hi\"".into(), 1e300.into(), CellValue::Null],
        ];
        let written = |format| {
            let mut out = Vec::new();
            let mut sheet = Sheet::new(&mut out, Path::new("-"), format, columns()).unwrap();
            rows.iter().for_each(|row| sheet.row(row).unwrap());
            assert_eq!(sheet.finish().unwrap(), 3);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(ExportFormat::Csv),
            "\"a,b\",x,y\r\n\"\",0.1,\"[1,2]\"\r\n,,\r\n\"say \"\"hi\"\"\",1e+300,\r\n"
        );
        assert_eq!(
            written(ExportFormat::Jsonl),
            "{\"a,b\":\"\",\"x\":0.1,\"y\":[1,2]}\n{\"a,b\":null,\"x\":null,\"y\":null}\n\
             {\"a,b\":\"say \\\"hi\\\"\",\"x\":1e+300,\"y\":null}\n"
        );
    }
}
