//! Tables as other programs write them, and files that are no tables.

use super::*;
use std::path::PathBuf;

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name)
}

/// A file with this content; the folder is removed when it is dropped.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("a file");
    (folder, path)
}

fn read_text(name: &str, content: impl AsRef<[u8]>, columns: &[&str]) -> Result<TableFile, String> {
    let (_folder, path) = file(name, content);
    read(&path, columns).map_err(|failure| failure.text)
}

fn numbers(table: &TableFile, name: &str) -> Vec<f64> {
    match table.frame.column(name).expect("the column") {
        Column::Numbers(values) => values.clone(),
        Column::Texts(values) => panic!("{name} has texts: {values:?}"),
    }
}

fn texts(table: &TableFile, name: &str) -> Vec<Option<String>> {
    match table.frame.column(name).expect("the column") {
        Column::Texts(values) => values.clone(),
        Column::Numbers(values) => panic!("{name} has numbers: {values:?}"),
    }
}

const NAMES: [&str; 8] = ["time", "event", "arm", "age", "small", "id", "dose", "half"];

#[test]
fn parquet_of_pandas_arrow_polars_and_duckdb_is_read() {
    for name in ["pandas", "arrow_gzip", "arrow_lz4", "polars", "duckdb"] {
        let table = read(&stored(&format!("{name}.parquet")), &NAMES);
        let table = table.unwrap_or_else(|failure| panic!("{name}: {}", failure.text));
        let all = |of: fn(usize) -> f64| (0..12).map(of).collect::<Vec<f64>>();
        assert_eq!(numbers(&table, "time"), all(|row| 0.5 * (row + 1) as f64), "{name}");
        assert_eq!(
            numbers(&table, "event"),
            all(|row| f64::from(u8::from(row % 3 != 0))),
            "{name}"
        );
        assert_eq!(numbers(&table, "small"), all(|row| 21.0 * row as f64), "{name}");
        assert_eq!(numbers(&table, "dose"), all(|row| (row as f64 - 3.0) / 8.0), "{name}");
        assert_eq!(numbers(&table, "half"), all(|row| row as f64 / 4.0), "{name}");
        let arms = texts(&table, "arm");
        assert_eq!(arms[..3], [Some("a".into()), Some("b".into()), None], "{name}");
        // Two of these ids are equal as 64-bit floats.
        assert_eq!(texts(&table, "id")[11], Some("9223372036854775819".into()), "{name}");
        let ages = numbers(&table, "age");
        assert!(ages[4].is_nan() && ages[11] == 41.0, "{name}");
    }
}

#[test]
fn columns_of_parquet_that_are_no_values_are_refused() {
    let refused = |file: &str, column: &str| match read(&stored(file), &["time", column]) {
        Ok(_) => panic!("{file} {column}"),
        Err(failure) => failure,
    };
    assert!(refused("arrow_gzip.parquet", "at").text.contains("found points in time; expected"));
    assert!(refused("arrow_gzip.parquet", "list").text.contains("lists or structures"));
    let brotli = refused("arrow_brotli.parquet", "dose");
    assert!(brotli.text.contains("expected compression with snappy"), "{}", brotli.text);
    let unknown = refused("polars.parquet", "tme");
    assert_eq!(unknown.kind, ErrorKind::Usage);
    assert!(unknown.text.contains("did you mean time?"), "{}", unknown.text);
}

#[test]
fn every_truncation_of_a_parquet_file_is_refused() {
    let whole = std::fs::read(stored("polars.parquet")).expect("the file");
    for length in (4..whole.len()).step_by(41) {
        let error = read_text("x.parquet", &whole[..length], &NAMES).err().expect("an error");
        assert!(error.contains("truncated or damaged"), "{length}: {error}");
    }
}

#[test]
fn damaged_parquet_files_end_no_test_with_a_panic() {
    let whole = std::fs::read(stored("arrow_gzip.parquet")).expect("the file");
    for at in (4..whole.len()).step_by(19) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        drop(read_text("x.parquet", damaged, &NAMES));
    }
}

#[test]
fn csv_with_a_byte_order_mark_and_crlf_is_read() {
    let text =
        "\u{feff}time, event,arm,\"a,b\"\r\n1.5, TRUE,x,\"say \"\"hi\"\"\"\r\n2,False,NA,\r\n";
    let table = read_text("t.csv", text, &["time", "event", "arm", "a,b"]).expect("a table");
    assert_eq!(numbers(&table, "time"), [1.5, 2.0]);
    assert_eq!(numbers(&table, "event"), [1.0, 0.0]);
    assert_eq!(texts(&table, "arm"), [Some("x".into()), None]);
    assert_eq!(texts(&table, "a,b"), [Some("say \"hi\"".into()), None]);
    assert_eq!(table.missing_words, [("arm".to_owned(), "NA".to_owned())]);
    let table = read_text("t.tsv", "a\tb\n1\t2\n", &["b"]).expect("a table");
    assert_eq!(numbers(&table, "b"), [2.0]);
}

#[test]
fn csv_columns_are_numbers_only_if_all_values_are() {
    let text = "n,t,id,m\n1e3,1,9007199254740993,nan\n-.5,2,1,\n+7,3+,2,<NA>\n";
    let table = read_text("t.csv", text, &["n", "t", "id", "m"]).expect("a table");
    assert_eq!(numbers(&table, "n"), [1000.0, -0.5, 7.0]);
    assert_eq!(texts(&table, "t")[0], Some("1".into()));
    assert_eq!(texts(&table, "id")[0], Some("9007199254740993".into()));
    assert!(numbers(&table, "m").iter().all(|value| value.is_nan()));
}

#[test]
fn jsonl_is_read_and_missing_names_are_missing_values() {
    let text = "{\"t\":1,\"e\":true,\"s\":\"a\"}\n\n{\"t\":2.5,\"e\":null,\"s\":3,\"x\":[1]}\r\n";
    let table = read_text("t.jsonl", text, &["t", "e", "s"]).expect("a table");
    assert_eq!(numbers(&table, "t"), [1.0, 2.5]);
    assert!(numbers(&table, "e")[0] == 1.0 && numbers(&table, "e")[1].is_nan());
    assert_eq!(texts(&table, "s"), [Some("a".into()), Some("3".into())]);
}

#[test]
fn what_is_no_table_is_named() {
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00".as_slice();
    for (name, content, text) in [
        ("t.csv", &b""[..], "found an empty file"),
        ("t.csv", b"time,event\n", "found the names of columns only"),
        ("t.csv", b"time;event\n1,5;0\n", "found semicolons; save it with commas"),
        ("t.csv", b"time\tevent\n1\t0\n", "found tabs; let its name end with .tsv"),
        ("t.tsv", b"time,event\n1,0\n", "found commas; let its name end with .csv"),
        (
            "t.csv",
            b"time,event\n1,0\n2,1,7\n",
            "line 3: expected 2 fields, as in the head, found 3",
        ),
        ("t.csv", b"time,event,time\n1,0,2\n", "expected one column time, found several"),
        ("t.csv", b"time,event\n1,\xe4\n", "line 2: expected text in UTF-8"),
        ("t.csv", b"\xff\xfet\0,\0", "found text in UTF-16"),
        ("t.csv", b"PAR1abcd", "found a Parquet file; let its name end with .parquet"),
        ("t.csv", gzip, "found gzip-compressed data; unpack it"),
        ("t.csv.gz", gzip, "found a compressed file; unpack it"),
        ("t.csv", b"PK\x03\x04", "a workbook of Excel; save the sheet as CSV"),
        ("t.xlsx", b"PK\x03\x04", "expected a file name that ends with .csv"),
        ("t.parquet", b"time,event\n", "expected a Parquet file, found other content"),
        ("t.jsonl", b"[{\"time\":1}]", "line 1: expected a JSON object, found a list; write one"),
        ("t.jsonl", b"{\"time\":1}\ntime,event\n", "line 2: expected a JSON object, found no JSON"),
        ("t.jsonl", b"{\"time\":[1]}", "line 1, column time: expected a number, a boolean"),
        ("t.jsonl", b"{\"time\":1}", "column event not found; the columns are time"),
        ("t.jsonl", b"\n\n", "expected lines with JSON objects, found none"),
    ] {
        match read_text(name, content, &["time", "event"]) {
            Ok(_) => panic!("{name} with {text:?}"),
            Err(error) => assert!(error.contains(text) && error.contains(name), "{error}"),
        }
    }
    let missing = read(Path::new("/no/such.csv"), &["time"]).err().map(|failure| failure.kind);
    assert_eq!(missing, Some(ErrorKind::NotFound));
    let folder = read(&std::env::temp_dir(), &["time"]).err().expect("an error");
    assert!(folder.text.contains("found a folder; vendomini export"), "{}", folder.text);
}
