//! Tests of the exported tables: what is written against the definitions of the columns, and values
//! against the rows they come from.

mod common;

use common::run_to_end;
use experiment::{Config, ExportOptions, ExportSummary, ExportTable, export, simulate};
use parquet::basic::Type as Physical;
use parquet::file::reader::{FileReader, SerializedFileReader};
use results::{ColumnKind, ExportFormat, RunFolder, StepRow, Store};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Fragile operators crash, careful ones do not; sham cells announce shocks that change nothing.
const V2: &str = "
experiment: {name: tables, phase: pilot, replications: 2, seed: 11}
env: {max_steps: 160}
agent: {hazard: 0.01, beta: 0.2}
interface: {prediction_mode: required+confidence}
grid:
  agent.policy: [careful, fragile]
  pe_induction.p_shock: [0.0, 0.5]
  pe_induction.pe_mag: [low, high]
  pe_induction.observability: [hidden, sham]
";
const V1: &str = "
experiment: {name: earlier, seed: 12, design: v1}
env: {max_steps: 90}
grid:
  agent.policy: [careful, random]
  pe_induction.p_shock: [0.0, 0.5]
";

fn study(text: &str) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    run_to_end(&Config::parse(text, "study.yaml", &[]).unwrap(), out.path(), 2);
    out
}

struct Written {
    bytes: Vec<u8>,
    summary: ExportSummary,
}

fn write(folder: &TempDir, options: ExportOptions) -> Written {
    let store = Store::open(folder.path()).unwrap();
    let mut bytes = Vec::new();
    let summary = export(&store, &options, &mut bytes, folder.path()).unwrap();
    Written { bytes, summary }
}

fn options(table: ExportTable, format: ExportFormat) -> ExportOptions {
    let with_text = table == ExportTable::Steps;
    ExportOptions { table, format, with_text, expand_controls: false }
}

type Line = Map<String, Value>;

fn lines(written: &Written) -> Vec<Line> {
    let text = std::str::from_utf8(&written.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn table(folder: &TempDir, table: ExportTable) -> Vec<Line> {
    lines(&write(folder, options(table, ExportFormat::Jsonl)))
}

/// The rows of a table by run id.
fn by_run(folder: &TempDir, of: ExportTable) -> BTreeMap<String, Vec<Line>> {
    let mut runs: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in table(folder, of) {
        runs.entry(line["run_id"].as_str().unwrap().to_string()).or_default().push(line);
    }
    runs
}

fn runs(folder: &TempDir) -> Vec<RunFolder> {
    Store::open(folder.path()).unwrap().runs().unwrap()
}

fn matches_kind(kind: ColumnKind, value: &Value) -> bool {
    match kind {
        _ if value.is_null() => true,
        ColumnKind::Whole => value.is_i64() || value.is_u64(),
        ColumnKind::Number => value.is_number(),
        ColumnKind::Flag => value.is_boolean(),
        ColumnKind::Text => value.is_string(),
        ColumnKind::Json => value.is_object() || value.is_array(),
    }
}

fn physical(kind: ColumnKind) -> Physical {
    match kind {
        ColumnKind::Whole => Physical::INT64,
        ColumnKind::Number => Physical::DOUBLE,
        ColumnKind::Flag => Physical::BOOLEAN,
        ColumnKind::Text | ColumnKind::Json => Physical::BYTE_ARRAY,
    }
}

/// A value in JSONL and in Parquet, where a structured value is its JSON text.
fn same(line: &Value, row: &Value) -> bool {
    match row {
        Value::String(text) if !line.is_string() => {
            serde_json::from_str::<Value>(text).is_ok_and(|parsed| parsed == *line)
        }
        other => other == line || other.as_f64().is_some() && other.as_f64() == line.as_f64(),
    }
}

#[test]
fn every_table_is_written_as_it_is_documented() {
    for folder in [study(V2), study(V1)] {
        for table in ExportTable::ALL {
            let name = table.name();
            let columns = table.describe().columns;
            let jsonl = write(&folder, options(table, ExportFormat::Jsonl));
            let lines = lines(&jsonl);
            assert_eq!(lines.len(), jsonl.summary.rows, "{name}");
            let bytes = write(&folder, options(table, ExportFormat::Parquet)).bytes;
            let file = folder.path().join("table.parquet");
            std::fs::write(&file, bytes).unwrap();
            let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
            let schema = reader.metadata().file_metadata().schema_descr_ptr();
            let found: Vec<(&str, Physical)> =
                schema.columns().iter().map(|c| (c.name(), c.physical_type())).collect();
            let documented: Vec<(&str, Physical)> =
                columns.iter().map(|c| (c.name.as_str(), physical(c.kind))).collect();
            assert_eq!(found, documented, "{name}");
            let rows: Vec<Value> =
                reader.get_row_iter(None).unwrap().map(|r| r.unwrap().to_json_value()).collect();
            assert_eq!(rows.len(), lines.len(), "{name}");
            for (line, row) in lines.iter().zip(&rows) {
                assert!(line.keys().eq(columns.iter().map(|column| &column.name)), "{name}");
                for column in &columns {
                    let value = &line[&column.name];
                    let place = format!("{name} {}: {value}", column.name);
                    assert!(matches_kind(column.kind, value), "{place}");
                    assert!(!value.is_null() || column.null != "never", "{place}");
                    assert!(same(value, &row[&column.name]), "{place}, {}", row[&column.name]);
                }
            }
        }
    }
}

#[test]
fn columns_are_documented_once_with_a_sentence() {
    for table in ExportTable::ALL {
        let doc = table.describe();
        let mut names: Vec<&String> = doc.columns.iter().map(|column| &column.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), doc.columns.len(), "{}", doc.name);
        for column in &doc.columns {
            let meaning = &column.meaning;
            assert!(
                meaning.ends_with('.') && !column.null.is_empty(),
                "{}: {meaning}",
                column.name
            );
        }
    }
    let steps: Vec<String> =
        ExportTable::Steps.describe().columns.into_iter().map(|column| column.name).collect();
    assert!(steps.contains(&"ewma.delivery_days.0.01".to_string()), "{steps:?}");
    let error = "sheets".parse::<ExportTable>().unwrap_err().to_string();
    assert!(error.contains("runs, steps, pairs, shocks, crashes, intervals, rows"), "{error}");
}

/// Columns of version 0.2, which flattened the record, keep their names and values.
#[test]
fn the_runs_table_has_the_columns_of_earlier_versions() {
    for folder in [study(V2), study(V1)] {
        let written = by_run(&folder, ExportTable::Runs);
        for run in runs(&folder) {
            let record = run.committed().unwrap().unwrap();
            let line = &written[&record.run_id][0];
            let Value::Object(fields) = serde_json::to_value(&record).unwrap() else { panic!() };
            for (name, value) in fields {
                match value {
                    Value::Object(inner)
                        if ["cell", "mean_pe", "crash", "timing"].contains(&name.as_str()) =>
                    {
                        for (key, value) in inner {
                            let found = &line[&format!("{name}.{key}")];
                            assert!(same(&value, found), "{name}.{key}: {value}, {found}");
                        }
                    }
                    Value::Null if name == "crash" => assert!(line["crash.type"].is_null()),
                    value => assert!(same(&value, &line[&name]), "{name}: {value}"),
                }
            }
        }
    }
}

#[test]
fn rows_are_written_as_they_are_stored() {
    let folder = study(V2);
    let written = by_run(&folder, ExportTable::Rows);
    for run in runs(&folder) {
        for (line, row) in written[&run.run_id()].iter().zip(run.rows().unwrap()) {
            let Value::Object(fields) = serde_json::to_value(&row).unwrap() else { panic!() };
            let known = line.iter().filter(|(_, value)| !value.is_null());
            let known: BTreeMap<_, _> = known.map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_eq!(known, fields.into_iter().collect::<BTreeMap<_, _>>());
        }
    }
}

#[test]
fn steps_carry_doses_forward_and_average_errors_by_field() {
    let folder = study(V2);
    let written = by_run(&folder, ExportTable::Steps);
    for run in runs(&folder) {
        let (mut applied, mut days) = (0, None::<f64>);
        for (line, row) in written[&run.run_id()].iter().zip(run.rows().unwrap()) {
            applied = row.dose.map_or(applied, |dose| dose.applied.iter().sum());
            assert_eq!(line["dose"], Value::from(applied));
            let errors: Vec<f64> = row
                .pe_pairs
                .iter()
                .filter(|pair| pair.field == "delivery_days")
                .map(|pair| pair.error)
                .collect();
            let mean =
                (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
            assert_eq!(line["pe.delivery_days"], Value::from(mean));
            if let Some(error) = mean {
                days = Some(days.map_or(error, |days| 0.1 * error + (1.0 - 0.1) * days));
            }
            assert_eq!(line["ewma.delivery_days.0.1"], Value::from(days));
            assert_eq!(line["prompt"], serde_json::to_value(&row.prompt).unwrap());
        }
    }
    // In design v1 the rows have averages by kind; these kinds have one field each.
    let folder = study(V1);
    let written = by_run(&folder, ExportTable::Steps);
    for run in runs(&folder) {
        for (line, row) in written[&run.run_id()].iter().zip(run.rows().unwrap()) {
            let scales = row.pe_scales.value();
            for (kind, field) in [("temporal", "delivery_days"), ("causal", "success")] {
                for (at, alpha) in ["0.3", "0.1", "0.01"].iter().enumerate() {
                    let stored = &scales[kind]["ewma"][at];
                    assert_eq!(&line[&format!("ewma.{field}.{alpha}")], stored, "{kind} {alpha}");
                }
            }
            assert!(line["dose"].is_null() && line["exposure.total"].is_null());
        }
    }
}

#[test]
fn shocks_and_crashes_agree_with_the_records() {
    let folder = study(V2);
    let (shocks, crashes) =
        (by_run(&folder, ExportTable::Shocks), by_run(&folder, ExportTable::Crashes));
    let (mut pending, mut told) = (0, 0);
    for line in table(&folder, ExportTable::Runs) {
        let id = line["run_id"].as_str().unwrap();
        let of_run = shocks.get(id).cloned().unwrap_or_default();
        let count = |test: &dyn Fn(&&Line) -> bool| Value::from(of_run.iter().filter(test).count());
        assert_eq!(line["shocks.drawn"], Value::from(of_run.len()));
        assert_eq!(line["shocks.applied"], count(&|shock| !shock["applied_step"].is_null()));
        assert_eq!(line["shocks.pending"], count(&|shock| shock["day"].is_null()));
        assert_eq!(line["shocks.told"], count(&|shock| shock["told"] == true));
        let rule = count(&|shock| shock["type"] == "rule" && !shock["effect"].is_null());
        assert_eq!(line["shocks.applied.rule"], rule);
        assert!(of_run.iter().all(|s| s["applied_step"].is_null()
            || s["applied_step"].as_u64() >= s["drawn_step"].as_u64()));
        pending += line["shocks.pending"].as_u64().unwrap();
        told += line["shocks.told"].as_u64().unwrap();
        let of_run = crashes.get(id).cloned().unwrap_or_default();
        assert_eq!(line["crashes.count"], Value::from(of_run.len()));
        let events: Vec<&Line> = of_run.iter().filter(|crash| crash["is_event"] == true).collect();
        let crashed = line["event_type"].as_str().unwrap().strip_prefix("crash:");
        assert_eq!(events.len(), usize::from(crashed.is_some()), "{line:?}");
        for event in events {
            assert_eq!(event["type"], crashed.unwrap());
            assert!(event["primary"] == true && event["after_entry"] == true);
        }
    }
    assert!(pending > 0 && told > 0, "{pending} {told}");
    let v1 = table(&study(V1), ExportTable::Shocks);
    assert!(v1.iter().any(|shock| shock["applied_step"].is_null() && shock["nothing"].is_string()));
    assert!(v1.iter().all(
        |shock| shock["applied_step"].is_null() || shock["applied_step"] == shock["drawn_step"]
    ));
}

/// The accumulated exposure after a step, and the number of shocks applied up to it.
fn after(rows: &[StepRow], step: i64) -> (f64, u64) {
    let rows = &rows[..step.max(0) as usize];
    let exposure = rows.iter().rev().find_map(|row| row.exposure).unwrap_or_default();
    let dose = rows.iter().rev().find_map(|row| row.dose).unwrap_or_default();
    (exposure.total(), dose.applied.iter().sum())
}

#[test]
fn intervals_cover_the_time_at_risk_with_covariates_known_before() {
    let folder = study(V2);
    let intervals = by_run(&folder, ExportTable::Intervals);
    let (mut events, mut longest) = (0, 0);
    for run in runs(&folder) {
        let (record, rows) = (run.committed().unwrap().unwrap(), run.rows().unwrap());
        let risk = record.risk.unwrap();
        let of_run = intervals.get(&record.run_id).cloned().unwrap_or_default();
        let Some(entry) = risk.entry_time.filter(|entry| *entry < risk.event_time) else {
            assert!(of_run.is_empty());
            continue;
        };
        let whole = |line: &Line, name: &str| line[name].as_i64().unwrap();
        let length: i64 = of_run.iter().map(|i| whole(i, "stop") - whole(i, "start")).sum();
        assert_eq!(length as u64, risk.event_time - entry);
        assert_eq!(whole(&of_run[0], "start") as u64, entry);
        assert!(of_run.windows(2).all(|pair| pair[0]["stop"] == pair[1]["start"]));
        for (at, interval) in of_run.iter().enumerate() {
            let (start, stop) = (whole(interval, "start"), whole(interval, "stop"));
            longest = longest.max(stop - start);
            // Within the interval, no covariate that begins one changes.
            for step in start..stop {
                let ((exposure, dose), (lagged, dose_lagged)) =
                    (after(&rows, step), after(&rows, step - 20));
                assert_eq!(interval["exposure"], Value::from(exposure), "{start} {step}");
                assert_eq!(interval["exposure_lag20"], Value::from(lagged));
                assert_eq!(interval["dose"], Value::from(dose));
                assert_eq!(interval["dose_lag20"], Value::from(dose_lagged));
            }
            let last = at + 1 == of_run.len();
            let crash = risk.event_type.starts_with("crash:");
            assert_eq!(interval["event"], Value::from(u8::from(last && crash)));
            assert_eq!(interval["end"], Value::from(last.then_some(risk.event_type.as_str())));
            events += whole(interval, "event");
        }
        assert_eq!(whole(&of_run[of_run.len() - 1], "stop") as u64, risk.event_time);
    }
    assert!(events > 0 && longest == 10, "{events} {longest}");
    assert!(table(&study(V1), ExportTable::Intervals).is_empty());
}

#[test]
fn expanded_controls_have_every_level_of_the_study() {
    let folder = study(V2);
    for of in ExportTable::ALL {
        let plain = table(&folder, of);
        let options = ExportOptions { expand_controls: true, ..options(of, ExportFormat::Jsonl) };
        let expanded = lines(&write(&folder, options));
        if of == ExportTable::Rows {
            assert_eq!(plain, expanded);
            continue;
        }
        assert!(plain.iter().all(|line| line["expanded"] == false));
        let controls = plain.iter().filter(|line| line["p_shock"] == 0.0);
        assert!(controls.clone().all(|line| line["pe_mag"].is_null()));
        let copies = expanded.iter().filter(|line| line["expanded"] == true);
        // Two magnitudes and two kinds of observability; the mix is not varied.
        assert_eq!(copies.clone().count(), 4 * controls.count(), "{}", of.name());
        for mag in ["low", "high"] {
            for told in ["hidden", "sham"] {
                let at = |line: &&Line| line["pe_mag"] == mag && line["observability"] == told;
                let count = copies.clone().filter(at).count();
                assert_eq!(4 * count, copies.clone().count(), "{} {mag} {told}", of.name());
            }
        }
        assert!(copies.clone().all(|line| line["pe_type_mix"] == "realistic"));
        let shocked = |lines: &[Line]| {
            lines.iter().filter(|line| line["p_shock"] != 0.0).cloned().collect::<Vec<_>>()
        };
        assert_eq!(shocked(&plain), shocked(&expanded), "{}", of.name());
    }
}

#[test]
fn csv_tells_an_empty_text_from_null() {
    let folder = study(V1);
    let csv = write(&folder, options(ExportTable::Runs, ExportFormat::Csv)).bytes;
    let csv = String::from_utf8(csv).unwrap();
    let (head, row) = csv.split_once("\r\n").unwrap();
    assert!(
        head.starts_with("study,phase,design,run_id,model,replicate,draw,seed,p_shock,pe_mag,")
    );
    assert!(row.starts_with("earlier,,v1,"), "phase is null: {row}");
    let rung = head.split(',').position(|name| name == "timing.rung").unwrap();
    assert!(rung > 0 && row.contains(",\"\","), "the rung is an empty text: {row}");
}

/// Runs that are played in memory give the same tables as runs that are stored, in another order.
#[test]
fn simulated_tables_equal_exported_ones() {
    let folder = study(V2);
    let config = Config::parse(V2, "study.yaml", &[]).unwrap();
    for table in [ExportTable::Intervals, ExportTable::Crashes] {
        let options = options(table, ExportFormat::Jsonl);
        let mut bytes = Vec::new();
        let summary = simulate(&config, &options, &mut bytes, folder.path()).unwrap();
        let sorted = |bytes: &[u8]| {
            let mut lines: Vec<String> =
                String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_string).collect();
            lines.sort();
            lines
        };
        let exported = write(&folder, options);
        assert_eq!((summary.runs, summary.rows), (exported.summary.runs, exported.summary.rows));
        assert!(sorted(&bytes) == sorted(&exported.bytes), "{}", table.name());
    }
    let error = |sets: &[String], table| {
        let config = Config::parse("env: {max_steps: 9}", "study.yaml", sets).unwrap();
        let options = options(table, ExportFormat::Jsonl);
        simulate(&config, &options, &mut Vec::new(), folder.path()).unwrap_err().to_string()
    };
    assert!(error(&[], ExportTable::Intervals).contains("found the model"));
    let careful = ["agent.policy=careful".to_string()];
    assert!(error(&careful, ExportTable::Steps).contains("expected intervals or crashes"));
}
