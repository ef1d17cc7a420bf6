//! Tests of the store: torn, edited and truncated logs, claims, commits, folders of other
//! configurations.

use error_kind::{ErrorKind, HasKind};
use results::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

fn experiment(seed: u64) -> ExperimentRecord {
    ExperimentRecord {
        schema_version: SCHEMA_VERSION,
        name: "test".into(),
        configuration: BTreeMap::from([
            ("experiment.seed".to_string(), json!(seed)),
            ("env.max_steps".into(), json!(5)),
        ]),
        execution: BTreeMap::new(),
        configuration_hash: "h".into(),
        runs: vec!["aa11".into(), "bb22".into()],
        provenance: Provenance::default(),
    }
}

fn row(run_id: &str, step: u64) -> StepRow {
    StepRow {
        run_id: run_id.into(),
        step,
        day: step,
        prompt: vec![PromptMessage {
            role: "user".into(),
            content: format!("It's day {step}: \"néw\"\n"),
        }],
        history_dropped: 0,
        sampling_seed: step,
        reply: "{\"tool\":\"wait\"}".into(),
        finish: "stop".into(),
        parse_failure: None,
        action: Some(ActionRow { tool: "wait".into(), arguments: serde_json::Map::new() }),
        card: None,
        card_problem: None,
        result: ResultRow { success: true, failure: None, answer: json!({"waited": true}) },
        pe: BTreeMap::from([
            ("cost".into(), (step == 2).then_some(0.5)),
            ("temporal".into(), None),
        ]),
        pe_pairs: vec![],
        pe_scales: RawJson::default(),
        shocks: vec![],
        crashes: vec![],
        detector: RawJson::default(),
        state: RawJson::of(&json!({"cash": 1.5})),
        ending: None,
        prompt_tokens: 10,
        reply_tokens: 3,
        ..StepRow::default()
    }
}

fn record(run_id: &str, totals: &RunTotals) -> RunRecord {
    RunRecord {
        schema_version: SCHEMA_VERSION,
        run_id: run_id.into(),
        cell: BTreeMap::from([("pe_induction.p_shock".to_string(), json!(0.5))]),
        replicate: 0,
        seed: 0,
        model: "m".into(),
        model_identity: "i".into(),
        dtype: "f32".into(),
        kernel_set: "scalar".into(),
        design: None,
        draw: 0,
        outcome: "horizon".into(),
        risk: None,
        steps: totals.steps,
        days: totals.days,
        orders_shipped: 2,
        net_worth: 10.0,
        mean_pe: totals.mean_pe(),
        crash: None,
        crashes: vec![],
        shocks: 0,
        dose: None,
        exposure: None,
        metrics: None,
        context_length: None,
        parse_failures: BTreeMap::new(),
        cards_missing: 0,
        prompt_tokens: totals.prompt_tokens,
        reply_tokens: totals.reply_tokens,
        extra: json!(null),
        rows: RowsRecord { lines: 0, bytes: 0, chain: String::new() },
        timing: Timing::default(),
    }
}

fn claimed(store: &Store, run: &str) -> Claim {
    match store.claim(run).unwrap() {
        ClaimOutcome::Acquired(claim) => claim,
        ClaimOutcome::HeldBy(who) => panic!("held by {who}"),
    }
}

fn write_run(store: &Store, run: &str, rows: u64) -> RunFolder {
    let folder = store.run(run);
    let mut writer = folder.begin(claimed(store, run)).unwrap();
    let mut totals = RunTotals::default();
    for step in 1..=rows {
        let row = row(run, step);
        totals.add(&row);
        writer.append(&row).unwrap();
    }
    assert_eq!(writer.commit(record(run, &totals)).unwrap().0, Committed::Ours);
    folder
}

#[test]
fn a_run_is_committed_once_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let folder = write_run(&store, "aa11", 3);
    let rows = folder.rows().unwrap();
    assert_eq!(rows, (1..=3).map(|step| row("aa11", step)).collect::<Vec<_>>());
    let committed = folder.committed().unwrap().unwrap();
    assert_eq!(
        committed.mean_pe,
        BTreeMap::from([("cost".to_string(), Some(0.5)), ("temporal".into(), None)])
    );
    // A second attempt, by a process that was paused while the first committed, changes nothing.
    let mut late = folder.begin(claimed(&store, "aa11")).unwrap();
    assert_eq!(late.attempt(), 2);
    late.append(&row("aa11", 9)).unwrap();
    assert_eq!(late.commit(record("aa11", &RunTotals::default())).unwrap().0, Committed::Another);
    assert_eq!(folder.rows().unwrap().len(), 3);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "two logs and the commit, no claim, no sibling: {left:?}");
}

#[test]
fn a_log_cut_at_any_byte_gives_its_complete_lines() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let folder = store.run("aa11");
    let mut writer = folder.begin(claimed(&store, "aa11")).unwrap();
    for step in 1..=4 {
        writer.append(&row("aa11", step)).unwrap();
    }
    drop(writer);
    let path = folder.path().join("steps.1.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let expected = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let attempt = folder.read_attempt(1).unwrap();
        assert_eq!(attempt.rows.len(), expected, "cut at {cut}");
        let torn = cut > 0 && whole[cut - 1] != b'\n';
        assert_eq!(attempt.note.is_some(), torn, "cut at {cut}");
    }
}

#[test]
fn an_edited_line_is_reported_by_number() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let folder = write_run(&store, "aa11", 4);
    let path = folder.path().join("steps.1.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let line_of = |text: String| -> usize {
        std::fs::write(&path, text).unwrap();
        let error = folder.rows().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        match error {
            ResultsError::BadLine { line, .. } => line,
            other => panic!("{other}"),
        }
    };
    for line in 1..=4 {
        let mut edited: Vec<String> = lines.iter().map(|l| l.to_string()).collect();
        edited[line - 1] = edited[line - 1].replace("\"cash\":1.5", "\"cash\":9.5");
        assert_eq!(line_of(edited.join("\n") + "\n"), line);
        let mut removed = lines.clone();
        removed.remove(line - 1);
        assert_eq!(line_of(removed.join("\n") + "\n"), line, "line {line} removed");
    }
    assert_eq!(line_of(lines[..2].join("\n") + "\n"), 3, "cut after two complete lines");
    assert_eq!(line_of(whole.trim_end().to_string()), 4, "without the last newline");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(folder.rows().unwrap().len(), 4);
}

#[test]
fn the_error_for_another_configuration_lists_the_keys_that_differ() {
    let root = tempfile::tempdir().unwrap();
    drop(Store::create(root.path(), &experiment(0)).unwrap());
    drop(Store::create(root.path(), &experiment(0)).unwrap());
    let error = Store::create(root.path(), &experiment(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("experiment.seed: 0 there, 1 now"), "{error}");
    assert!(!error.to_string().contains("max_steps"), "{error}");
}

#[test]
fn a_claim_holds_while_its_owner_lives() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (
        Store::create(root.path(), &experiment(0)).unwrap(),
        Store::create(root.path(), &experiment(0)).unwrap(),
    );
    let claim = claimed(&one, "aa11");
    assert!(
        matches!(two.claim("aa11").unwrap(), ClaimOutcome::HeldBy(who) if who.pid == std::process::id())
    );
    drop(claim);
    drop(claimed(&two, "aa11"));
    // A claim of a process that has ended: this pid with another start time.
    let path = one.run("aa11").path().join("claim");
    let gone = Owner { started_ticks: 1, ..Owner::here() };
    std::fs::write(&path, serde_json::to_vec(&gone).unwrap()).unwrap();
    drop(claimed(&one, "aa11"));
    // A claim of another host holds while it is recent, and is taken over once it is stale.
    let elsewhere = Owner { world: "another boot".into(), ..Owner::here() };
    std::fs::write(&path, serde_json::to_vec(&elsewhere).unwrap()).unwrap();
    assert!(matches!(one.claim("aa11").unwrap(), ClaimOutcome::HeldBy(_)));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    drop(claimed(&one, "aa11"));
}

#[test]
fn claims_are_links_to_the_file_of_their_process() {
    let root = tempfile::tempdir().unwrap();
    let files = || {
        let names = std::fs::read_dir(root.path().join("processes")).unwrap();
        names.map(|name| name.unwrap().path()).collect::<Vec<_>>()
    };
    // A process that was killed has left its file.
    std::fs::create_dir(root.path().join("processes")).unwrap();
    let gone = Owner { started_ticks: 1, ..Owner::here() };
    let left = root.path().join("processes/left");
    std::fs::write(&left, serde_json::to_vec(&gone).unwrap()).unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    assert!(!left.exists());
    let [file] = files().try_into().unwrap();
    let claim = claimed(&store, "aa11");
    assert_eq!(
        std::fs::read(store.run("aa11").path().join("claim")).unwrap(),
        std::fs::read(&file).unwrap()
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 2);
    }
    drop(claim);
    // Without the file, claims are files of their own.
    std::fs::remove_file(&file).unwrap();
    let other = Store::create(root.path(), &experiment(0)).unwrap();
    let claim = claimed(&store, "aa11");
    assert!(matches!(other.claim("aa11").unwrap(), ClaimOutcome::HeldBy(_)));
    drop(claim);
    drop((store, other));
    assert!(files().is_empty());
}

/// System calls of this thread that write.
#[cfg(target_os = "linux")]
fn writes_of_this_thread() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
    count.parse().unwrap()
}

#[test]
fn rows_are_in_the_log_within_milliseconds_and_at_the_end_of_an_attempt() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let in_log = |run: &str, attempt| store.run(run).read_attempt(attempt).unwrap().rows.len();
    let pause = || std::thread::sleep(std::time::Duration::from_millis(5));
    let mut writer = store.run("aa11").begin(claimed(&store, "aa11")).unwrap();
    for step in 1..=3 {
        // As after the reply of a model.
        pause();
        writer.append(&row("aa11", step)).unwrap();
        assert_eq!(in_log("aa11", 1), step as usize);
    }
    // A thousand rows at once are written in groups, and are at most the size of one behind.
    #[cfg(target_os = "linux")]
    let before = writes_of_this_thread();
    (4..=1000).for_each(|step| writer.append(&row("aa11", step)).unwrap());
    #[cfg(target_os = "linux")]
    assert!(writes_of_this_thread() - before < 500, "{before}");
    let bytes = std::fs::metadata(store.run("aa11").path().join("steps.1.jsonl")).unwrap().len();
    assert!(bytes + (64 << 10) > writer.rows().bytes, "{bytes}");
    drop(writer);
    assert_eq!(in_log("aa11", 1), 1000);
    let mut writer = store.run("bb22").begin(claimed(&store, "bb22")).unwrap();
    writer.append(&row("bb22", 1)).unwrap();
    writer.fail("a reason").unwrap();
    assert_eq!(in_log("bb22", 1), 1);
}

#[test]
fn of_many_threads_that_claim_one_run_one_succeeds() {
    let root = tempfile::tempdir().unwrap();
    let stores: Vec<Store> =
        (0..8).map(|_| Store::create(root.path(), &experiment(0)).unwrap()).collect();
    let ours = std::thread::scope(|scope| {
        let threads: Vec<_> =
            stores.iter().map(|store| scope.spawn(|| store.claim("aa11").unwrap())).collect();
        #[allow(clippy::disallowed_methods, reason = "a test, inside a scope")]
        let outcomes: Vec<ClaimOutcome> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Acquired(_))).count()
    });
    assert_eq!(ours, 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::create(&file.join("x"), &experiment(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    if Path::new("/sys/kernel").exists() {
        let error = Store::create(Path::new("/sys/vendomini/x"), &experiment(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("--out"), "{error}");
    }
    let error = Store::open(root.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn another_kernel_set_needs_accept_mixed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let model = |kernels: &str, dtype: &str| ModelRecord {
        schema_version: SCHEMA_VERSION,
        name: "org/model".into(),
        identity: "i".into(),
        dtype: dtype.into(),
        kernel_set: kernels.into(),
    };
    assert_eq!(store.admit_model(&model("avx2", "bf16"), false).unwrap(), None);
    assert_eq!(store.admit_model(&model("avx2", "bf16"), false).unwrap(), None);
    let error = store.admit_model(&model("avx512", "bf16"), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("avx2 there, avx512 now"), "{error}");
    assert_eq!(
        store.admit_model(&model("avx512", "bf16"), true).unwrap().as_deref(),
        Some("avx512")
    );
    assert!(store.admit_model(&model("avx2", "f32"), true).is_err());
}

#[test]
fn status_counts_runs_that_are_done_begun_failed_and_left() {
    let root = tempfile::tempdir().unwrap();
    let mut all = experiment(0);
    all.runs = ["aa11", "bb22", "cc33", "dd44"].map(String::from).to_vec();
    let store = Store::create(root.path(), &all).unwrap();
    write_run(&store, "aa11", 2);
    drop(store.run("bb22").begin(claimed(&store, "bb22")).unwrap());
    store.run("cc33").begin(claimed(&store, "cc33")).unwrap().fail("the server is gone").unwrap();
    let status = status(&store).unwrap();
    assert_eq!(
        (status.total, status.done, status.begun, status.failed, status.left),
        (4, 1, 1, 1, 1)
    );
    assert_eq!(status.failures["cc33"].reason, "the server is gone");
}

#[test]
fn the_closing_table_names_factors_and_errors() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    write_run(&store, "aa11", 2);
    let row = ClosingRow::of(
        &store.run("aa11").committed().unwrap().unwrap(),
        &["pe_induction.p_shock".into()],
    );
    let table = closing_table(&[row]);
    assert!(table.contains("p_shock=0.5 #0") && table.contains("PE temporal"), "{table}");
    assert!("feather".parse::<ExportFormat>().unwrap_err().to_string().contains("jsonl, csv"));
}

#[test]
fn a_long_log_of_a_committed_run_is_compressed_and_reads_the_same() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::create(root.path(), &experiment(0)).unwrap();
    let short = write_run(&store, "bb22", 3);
    assert!(!short.pack().unwrap(), "short logs are not compressed");
    let folder = write_run(&store, "aa11", 3000);
    let (rows, plain) = (folder.rows().unwrap(), folder.path().join("steps.1.jsonl"));
    let (packed, text) = (folder.path().join("steps.1.jsonl.zst"), std::fs::read(&plain).unwrap());
    assert!(folder.pack().unwrap() && !plain.exists());
    assert!(std::fs::metadata(&packed).unwrap().len() < text.len() as u64 / 4);
    assert!(!folder.pack().unwrap(), "once");
    assert_eq!(folder.rows().unwrap(), rows);
    assert_eq!(
        (folder.attempts().unwrap(), folder.longest_attempt().unwrap().unwrap().rows.len()),
        (vec![1], 3000)
    );
    // A kill between the rename and the removal leaves both files.
    std::fs::write(&plain, &text).unwrap();
    assert_eq!((folder.attempts().unwrap(), folder.rows().unwrap().len()), (vec![1], 3000));
    assert!(folder.pack().unwrap() && !plain.exists(), "packing again removes the plain log");
    let whole = std::fs::read(&packed).unwrap();
    for (cut, flip) in
        [(whole.len() / 2, None), (10, None), (0, None), (whole.len(), Some(whole.len() / 2))]
    {
        let mut damaged = whole[..cut].to_vec();
        flip.into_iter().for_each(|at: usize| damaged[at] ^= 0x55);
        std::fs::write(&packed, &damaged).unwrap();
        let error = folder.rows().unwrap_err().to_string();
        assert!(error.contains("steps.1.jsonl.zst line "), "{error}");
    }
}
