//! Tests of staging: from a FUSE file system of limited rate, which is a network file system for
//! the program, to a local disk. Tests that mount need `/dev/fuse` or root, and print SKIPPED
//! without them. The disk of the build needs 1.1 GiB of free space.

mod common;
#[path = "../../../tests/faults/table.rs"]
mod table;

use common::fuse::{Reads, SlowMount};
use common::running::Running;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vendomini");
const LIMIT: Duration = Duration::from_secs(120);
const SHARD: &str = "model-00002-of-00003.safetensors";
/// A rate at which the checkpoint of 33 MB takes some seconds.
const SLOW: Reads = Reads::BytesPerS(12_000_000);
const FAST: Reads = Reads::BytesPerS(400_000_000);

/// A checkpoint of three shards on the local disk, and an empty folder beside it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        // The folder of the build is on a disk, which that of temporary files may not be.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let bench = Bench { folder };
        bench.synthesize("model", 7);
        fs::create_dir(bench.disk()).expect("a folder");
        bench
    }

    fn synthesize(&self, name: &str, seed: u64) {
        let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
            "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
            "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2}"#;
        let (like, model) = (self.path("shape.json"), self.path(name));
        fs::write(&like, config).expect("a file");
        let seed = seed.to_string();
        let synth =
            ["synth", "--shards", "3", "--random", &seed, "--like", text(&like), text(&model)];
        succeeds(&run(&synth, &[]));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// The local disk to stage on.
    fn disk(&self) -> PathBuf {
        self.path("local")
    }

    fn mount(&self, reads: Reads) -> Option<SlowMount> {
        SlowMount::of(&self.model(), reads)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    for name in ["VENDOMINI_STAGE", "SLURM_TMPDIR", "TMPDIR"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

fn start(arguments: &[&str]) -> Running {
    Running::new(command(arguments, &[]).spawn().expect("the program starts"))
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Running::new(command(arguments, variables).spawn().expect("the program starts")).ends(LIMIT)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    stderr
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// The faults of docs/faults.md that these tests make.
const FAULTS: [&str; 18] = [
    "the task that copies is killed, another waits",
    "SIGTERM in mid copy",
    "a file of an unfinished copy is changed",
    "a file of a complete copy is changed",
    "a disk returns other bytes, found by `stage --verify`",
    "a shard is replaced while it is copied",
    "a blob is not what its name says",
    "too little space for a load",
    "too little space for `stage`",
    "the disk becomes full in mid copy",
    "the quota is used up in mid copy",
    "the disk is read-only",
    "the disk has the model already",
    "the folder is on a network file system",
    "the folder of copies is a link",
    "the folder does not exist",
    "the folder is a file",
    "a FIFO among the files",
];

#[test]
fn every_fault_has_a_row() {
    let rows = table::rows("While it is staged");
    let faults: Vec<&str> = rows.iter().map(|row| row.fault.as_str()).collect();
    assert_eq!(faults, FAULTS);
}

/// Checks exit code and message of a command against the fault's row.
#[track_caller]
fn ends_as(fault: &str, output: &Output) {
    let rows = table::rows("While it is staged");
    let row = rows.iter().find(|row| row.fault == fault).unwrap_or_else(|| panic!("{fault}"));
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(i32::from(row.exit)), "{fault}: {said}");
    holds(&said, &row.words.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The folder of the only copy on a disk.
fn copy_on(disk: &Path) -> PathBuf {
    let all = fs::read_dir(disk).expect("a folder").flatten().map(|entry| entry.path());
    let staged: Vec<_> = all.filter(|path| text(path).contains("vendomini-staged-")).collect();
    let [staged] = staged.as_slice() else { panic!("{staged:?}") };
    let copies = fs::read_dir(staged).expect("a folder").flatten().map(|entry| entry.path());
    let copies: Vec<_> = copies.filter(|path| path.is_dir()).collect();
    let [copy] = copies.as_slice() else { panic!("{copies:?}") };
    copy.clone()
}

/// Waits until a copy on a disk has finished this many pieces.
fn wait_for_pieces(disk: &Path, pieces: usize) {
    let since = Instant::now();
    loop {
        let folders = fs::read_dir(disk).expect("a folder").flatten();
        let copies = folders.flat_map(|staged| fs::read_dir(staged.path()).into_iter().flatten());
        let records = copies.flatten().map(|copy| copy.path().join("record"));
        let done: usize = records
            .filter_map(|record| fs::read_to_string(record).ok())
            .map(|record| record.lines().filter(|line| line.starts_with("piece ")).count())
            .sum();
        if done >= pieces {
            return;
        }
        assert!(since.elapsed() < LIMIT, "{done} of {pieces} pieces");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(running: &Running, signal: Signal) {
    kill_process_group(Pid::from_child(&running.child), signal).expect("a running process");
}

/// Whether two folders have the same shards.
fn assert_same_shards(model: &Path, copy: &Path) {
    for number in 1..=3 {
        let name = format!("model-0000{number}-of-00003.safetensors");
        let read = |folder: &Path| fs::read(folder.join(&name)).expect("a shard");
        assert!(read(model) == read(&copy.join("model")), "{name}");
    }
}

#[test]
fn a_staged_model_gives_the_same_bits_and_is_copied_once() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(SLOW) else { return };
    let (model, disk) = (text(mount.path()).to_owned(), bench.disk());
    let score = ["score", &model, "--tokens", "1,2,3,4,5,6,7", "--json"];
    let direct = run(&score, &[]);
    succeeds(&direct);
    let staged = run(&[&score[..], &["--stage", text(&disk)]].concat(), &[]);
    let said = succeeds(&staged);
    holds(&said, &["Fetching files 6/6", "33.4 of 33.4 MB at 0.0", "copied", &model, text(&disk)]);
    assert_eq!(staged.stdout, direct.stdout);
    assert_same_shards(&bench.model(), &copy_on(&disk));
    // At the second time nothing is read from the mount but headers.
    let since = Instant::now();
    let again = run(&["load", &model, "--stage", text(&disk), "--json"], &[]);
    holds(&succeeds(&again), &["is a copy of", &model]);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let document: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(document["model"], *model);
    assert_eq!(document["staged"], text(&copy_on(&disk).join("model")));
    // A changed checkpoint is another one.
    fs::File::open(bench.model().join(SHARD))
        .and_then(|shard| shard.set_modified(std::time::SystemTime::now()))
        .expect("a shard");
    holds(&succeeds(&run(&["load", &model, "--stage", text(&disk)], &[])), &["copied"]);
}

#[test]
fn a_copy_whose_task_is_killed_is_finished_by_the_task_that_waits() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(SLOW) else { return };
    let disk = bench.disk();
    let load = ["load", text(mount.path()), "--stage", text(&disk)];
    let mut first = start(&load);
    wait_for_pieces(&bench.disk(), 1);
    let in_use = copy_on(&disk).with_extension("use");
    let used = || fs::metadata(&in_use).and_then(|lock| lock.modified()).expect("a lock");
    let used_first = used();
    let (mut second, since) = (start(&load), Instant::now());
    while used() == used_first {
        assert!(since.elapsed() < LIMIT, "the second task does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It tries the lock of the writer next.
    std::thread::sleep(Duration::from_millis(100));
    kill(&first, Signal::KILL);
    assert_eq!(first.ends(LIMIT).status.code(), None);
    ends_as("the task that copies is killed, another waits", &second.ends(LIMIT));
    assert_same_shards(&bench.model(), &copy_on(&bench.disk()));
    let third = run(&load, &[]);
    holds(&succeeds(&third), &["is a copy of"]);
}

#[test]
fn a_copy_that_was_ended_is_continued() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(SLOW) else { return };
    let disk = bench.disk();
    let load = ["load", text(mount.path()), "--stage", text(&disk)];
    for (signal, pieces) in [(Signal::TERM, 2), (Signal::KILL, 4)] {
        let mut ended = start(&load);
        wait_for_pieces(&bench.disk(), pieces);
        kill(&ended, signal);
        let output = ended.ends(LIMIT);
        if signal == Signal::TERM {
            ends_as("SIGTERM in mid copy", &output);
        }
    }
    // A finished file that is changed meanwhile is copied again.
    let copy = copy_on(&bench.disk());
    let config = copy.join("model/config.json");
    fs::write(&config, "{}").expect("a file");
    ends_as("a file of an unfinished copy is changed", &run(&load, &[]));
    assert_eq!(fs::read(config).ok(), fs::read(bench.model().join("config.json")).ok());
    assert_same_shards(&bench.model(), &copy);
}

#[test]
fn a_copy_that_is_changed_is_noticed_and_repaired() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(FAST) else { return };
    let (model, disk) = (text(mount.path()), bench.disk());
    let stage = ["stage", model, "--to", text(&disk), "--verify"];
    succeeds(&run(&stage, &[]));
    let copy = copy_on(&disk);
    let shard = copy.join("model").join(SHARD);
    let mut bytes = fs::read(&shard).expect("a shard");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, &bytes).expect("a shard");
    let load = run(&["load", model, "--stage", text(&disk)], &[]);
    ends_as("a file of a complete copy is changed", &load);
    assert_same_shards(&bench.model(), &copy);
    // A disk that returns other bytes, with the file's times as they were: the record is made to
    // agree with a file that was changed.
    fs::write(&shard, &bytes).expect("a shard");
    let record = fs::read_to_string(copy.join("record")).expect("a record");
    let number = record.lines().filter(|line| line.starts_with("file ")).count() - 2;
    let found = fs::metadata(&shard).expect("a shard");
    let line = record_line(number, &found);
    let kept = record.lines().map(|kept| {
        if kept.starts_with(&format!("file {number} ")) { line.clone() } else { kept.to_owned() }
    });
    fs::write(copy.join("record"), kept.collect::<Vec<_>>().join("\n") + "\n").expect("a record");
    let verified = run(&stage, &[]);
    ends_as("a disk returns other bytes, found by `stage --verify`", &verified);
    // What a process uses stays.
    let lock = fs::File::open(copy.with_extension("use")).expect("a lock");
    lock.lock_shared().expect("a lock");
    let clean = ["stage", "--clean", "--to", text(&disk), "--json"];
    let output = run(&clean, &[]);
    succeeds(&output);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&document["in_use"], shard.exists()), (&Value::from(1), true));
    drop(lock);
    succeeds(&run(&clean, &[]));
    assert!(!copy.exists());
}

/// The line of a record for a file as it is.
fn record_line(number: usize, found: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    let modified = ns(found.mtime(), found.mtime_nsec());
    let changed = ns(found.ctime(), found.ctime_nsec());
    format!("file {number} {} {} {modified} {changed}", found.len(), found.ino())
}

#[test]
fn a_shard_that_is_replaced_while_it_is_copied_ends_the_command() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(SLOW) else { return };
    let last = bench.model().join("model-00003-of-00003.safetensors");
    let mut load = start(&["load", text(mount.path()), "--stage", text(&bench.disk())]);
    wait_for_pieces(&bench.disk(), 1);
    let other = bench.path("other");
    fs::copy(&last, &other).expect("a copy");
    fs::rename(&other, &last).expect("a shard");
    ends_as("a shard is replaced while it is copied", &load.ends(LIMIT));
    let files = walk(&bench.disk());
    assert!(files.iter().all(|file| !text(file).contains("safetensors")), "{files:?}");
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => walk(&path),
        path => vec![path],
    };
    entries.flat_map(below).collect()
}

#[test]
fn files_of_the_hub_cache_stay_links_to_blobs_and_are_compared_with_their_names() {
    let bench = Bench::new();
    let (blobs, snapshot) = (bench.path("blobs"), bench.path("models--a--b/snapshots/c0ffee"));
    fs::create_dir_all(&blobs).expect("a folder");
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::create_dir_all(bench.path("models--a--b/blobs")).expect("a folder");
    let listed = run(&["fetch", text(&bench.model()), "--verify", "--json"], &[]);
    succeeds(&listed);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    for file in listed["files"].as_array().expect("files") {
        let (name, id) =
            (file["name"].as_str().expect("a name"), file["id"].as_str().expect("an id"));
        fs::copy(bench.model().join(name), blobs.join(id)).expect("a blob");
    }
    fs::copy(bench.model().join("model.safetensors.index.json"), blobs.join("1nd3x"))
        .expect("a blob");
    let Some(mount) = SlowMount::of(&blobs, FAST) else { return };
    // The cache's folder of blobs is the mount, under its name.
    let cache = bench.path("models--a--b/blobs");
    if !mounted(&["--bind", text(mount.path()), text(&cache)]) {
        return;
    }
    let _unmount = Unmount(cache);
    let link = |name: &str, id: &str| {
        let target = Path::new("../../blobs").join(id);
        drop(fs::remove_file(snapshot.join(name)));
        std::os::unix::fs::symlink(target, snapshot.join(name)).expect("a link");
    };
    for file in listed["files"].as_array().expect("files") {
        link(file["name"].as_str().expect("a name"), file["id"].as_str().expect("an id"));
    }
    link("model.safetensors.index.json", "1nd3x");
    let disk = bench.disk();
    let load = ["load", text(&snapshot), "--stage", text(&disk)];
    holds(&succeeds(&run(&load, &[])), &["copied", "load returned"]);
    let staged = copy_on(&bench.disk()).join("model").join(SHARD);
    let id = listed["files"][1]["id"].as_str().expect("an id");
    assert_eq!(fs::read_link(staged).ok(), Some(Path::new("../blobs").join(id)));
    // Another blob with a name that is not its hash.
    let wrong = "0".repeat(64);
    let mut bytes = fs::read(blobs.join(id)).expect("a blob");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(blobs.join(&wrong), bytes).expect("a blob");
    link(SHARD, &wrong);
    let output = run(&load, &[]);
    ends_as("a blob is not what its name says", &output);
    holds(&stderr(&output), &[&wrong]);
}

/// Mounts something; prints SKIPPED if this process may not.
#[allow(clippy::print_stderr, reason = "a test")]
fn mounted(arguments: &[&str]) -> bool {
    let output = Command::new("mount").args(arguments).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        eprintln!("SKIPPED: cannot mount here: {output:?}");
    }
    done
}

/// A mount that is undone when this is dropped.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A file system in memory of some MiB.
fn small_disk(at: &Path, mib: u64) -> Option<Unmount> {
    fs::create_dir_all(at).expect("a folder");
    let size = format!("size={mib}m");
    mounted(&["-t", "tmpfs", "-o", &size, "none", text(at)]).then(|| Unmount(at.to_owned()))
}

#[test]
fn a_disk_without_space_is_not_filled_and_the_model_is_loaded_from_where_it_is() {
    let bench = Bench::new();
    let model = bench.model();
    let disk = bench.path("small");
    let Some(_small) = small_disk(&disk, 1040) else { return };
    let load = ["load", text(&model), "--stage", text(&disk)];
    let output = run(&load, &[]);
    ends_as("too little space for a load", &output);
    holds(&stderr(&output), &[text(&model)]);
    assert!(is_empty(&disk));
    let stage = run(&["stage", text(&model), "--to", text(&disk)], &[]);
    ends_as("too little space for `stage`", &stage);
}

/// Whether the files on a disk have no bytes: locks may be left.
fn is_empty(disk: &Path) -> bool {
    walk(disk).iter().all(|file| fs::metadata(file).is_ok_and(|file| file.len() == 0))
}

#[test]
fn a_disk_that_becomes_full_in_mid_copy_is_cleaned_up() {
    let bench = Bench::new();
    let (model, disk) = (bench.model(), bench.path("full"));
    let Some(_disk) = small_disk(&disk, 1200) else { return };
    let library = bench.path("interpose.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/interpose.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o", text(&library), text(&source), "-ldl"])
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{compiled:?}");
    for (action, fault) in [
        ("enospc", "the disk becomes full in mid copy"),
        ("edquot", "the quota is used up in mid copy"),
    ] {
        let rule = format!("pwrite,{SHARD}.part,8000000,{action}");
        let faulty = [("LD_PRELOAD", text(&library)), ("FAULT", rule.as_str())];
        ends_as(fault, &run(&["load", text(&model), "--stage", text(&disk)], &faulty));
        assert!(is_empty(&disk));
    }
}

#[test]
fn unused_copies_make_room_for_others() {
    let bench = Bench::new();
    bench.synthesize("other", 8);
    let disk = bench.path("small");
    let Some(_small) = small_disk(&disk, 1080) else { return };
    let stage = |model: &str| run(&["stage", model, "--to", text(&disk)], &[]);
    let (model, other) = (bench.model(), bench.path("other"));
    succeeds(&stage(text(&model)));
    let first = copy_on(&disk);
    let said = succeeds(&stage(text(&other)));
    holds(&said, &["removed the unused copy of", text(&model)]);
    assert!(!first.exists());
    let lock = fs::File::open(copy_on(&disk).with_extension("use")).expect("a lock");
    lock.lock_shared().expect("a lock");
    let output = stage(text(&model));
    assert_eq!(output.status.code(), Some(71), "{}", stderr(&output));
    assert_same_shards(&other, &copy_on_disk_of(&disk));
}

/// The folder of the copy that has shards.
fn copy_on_disk_of(disk: &Path) -> PathBuf {
    let shard = walk(disk).into_iter().find(|file| file.ends_with(SHARD)).expect("a shard");
    shard.parent().and_then(Path::parent).expect("a copy").to_owned()
}

#[test]
fn a_folder_that_is_of_no_use_is_named_and_the_model_is_loaded() {
    let bench = Bench::new();
    let model = bench.model();
    let load = |folder: &Path| run(&["load", text(&model), "--stage", text(folder)], &[]);
    ends_as("the disk has the model already", &load(&bench.disk()));
    ends_as("the folder does not exist", &load(&bench.path("absent")));
    ends_as("the folder is a file", &load(&model.join("config.json")));
    // On one of many nodes, the folder of the variable may be missing.
    let absent = bench.path("absent");
    let said = succeeds(&run(&["load", text(&model)], &[("VENDOMINI_STAGE", text(&absent))]));
    holds(&said, &["not staged", "found nothing at", "load returned"]);
    assert_eq!(run(&["load", text(&model), "--stage", ""], &[]).status.code(), Some(2));
    if let Some(mount) = bench.mount(FAST) {
        ends_as("the folder is on a network file system", &load(mount.path()));
    }
    let closed = bench.path("closed");
    if let Some(_disk) = small_disk(&closed, 1200)
        && mounted(&["-o", "remount,ro", text(&closed)])
    {
        ends_as("the disk is read-only", &load(&closed));
    }
    // In /tmp, another user may have made the folder.
    let foreign = bench.path("foreign");
    let Some(_disk) = small_disk(&foreign, 1200) else { return };
    succeeds(&run(&["stage", text(&model), "--to", text(&foreign)], &[]));
    let staged = copy_on(&foreign).parent().expect("a folder").to_owned();
    fs::remove_dir_all(&staged).expect("a folder");
    std::os::unix::fs::symlink(bench.path("elsewhere"), &staged).expect("a link");
    ends_as("the folder of copies is a link", &load(&foreign));
    fs::remove_file(&staged).expect("a link");
    let fifo = Command::new("mkfifo").arg(model.join("other.json")).status();
    assert!(fifo.is_ok_and(|status| status.success()));
    ends_as("a FIFO among the files", &load(&foreign));
}

#[test]
fn auto_stages_from_a_network_file_system_to_the_folder_of_the_job() {
    let bench = Bench::new();
    let Some(mount) = bench.mount(SLOW) else { return };
    let (model, disk) = (text(mount.path()), bench.disk());
    let auto = ["load", model, "--stage", "auto"];
    let said = succeeds(&run(&auto, &[]));
    holds(&said, &["not staged", "neither $SLURM_TMPDIR nor $TMPDIR", "load returned"]);
    let here = [("SLURM_TMPDIR", text(&disk)), ("TMPDIR", "/nonexistent")];
    let plan = run(&["plan", model], &here);
    succeeds(&plan);
    let line = String::from_utf8_lossy(&plan.stdout).into_owned();
    holds(
        &line,
        &["staging: reading 31.8 MiB", "from fuse takes", text(&disk), "pays from load 2"],
    );
    let plan = run(&["plan", model, "--json"], &here);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    assert_eq!(plan["staging"]["pays_from_loads"], 2);
    assert_eq!(plan["staging"]["staged"], false);
    let said =
        succeeds(&run(&["load", model], &[&here[..], &[("VENDOMINI_STAGE", "auto")]].concat()));
    holds(&said, &["copied", "load returned"]);
    let doctor = run(&["doctor", model], &here);
    succeeds(&doctor);
    let line = String::from_utf8_lossy(&doctor.stdout).into_owned();
    holds(&line, &["staging       reading", "it is staged on", text(&disk)]);
    // A model on the local disk is not staged, without a word.
    let local = bench.model();
    let said = succeeds(&run(&["load", text(&local), "--stage", "auto"], &here));
    assert!(!said.contains("staged"), "{said}");
    let plan = run(&["plan", text(&local), "--json"], &here);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    assert_eq!(plan.get("staging"), None);
}
