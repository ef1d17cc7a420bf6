//! Tests of whole copies between two folders.

use crate::copy::is_complete;
use crate::folder::StageFolder;
use crate::pieces::PIECE_BYTES;
use crate::record::CopyRecord;
use crate::source_files::SourceFiles;
use crate::{StagedCheckpoint, StagingError, is_staged, remove_unused, stage_in};
use checkpoint::{Checkpoint, Fill, SynthRequest, SynthSource, synth};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watch::Watch;

/// A checkpoint of one shard of two pieces, and an empty folder that stands for the local disk.
struct Bench {
    _folder: tempfile::TempDir,
    checkpoint: Checkpoint,
    disk: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "dtype": "bfloat16", "vocab_size": 17000, "hidden_size": 512, "intermediate_size": 512,
            "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 4,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2}"#;
        let (like, model) = (folder.path().join("shape.json"), folder.path().join("model"));
        std::fs::write(&like, config).unwrap();
        let like = SynthSource::Config(like);
        let request = SynthRequest { like, shards: Some(1), fill: Fill::Sparse, folder: model };
        synth(&request, &|_| true).unwrap();
        let disk = folder.path().join("local");
        std::fs::create_dir(&disk).unwrap();
        mark(&Checkpoint::open(&request.folder).unwrap().inventory.shards[0].path);
        let checkpoint = Checkpoint::open(&request.folder).unwrap();
        Bench { _folder: folder, checkpoint, disk }
    }

    fn stage(&self) -> Result<StagedCheckpoint, StagingError> {
        self.stage_watched(&Watch::silent())
    }

    /// Without a reserve: the disk of a test may be nearly full.
    fn stage_watched(&self, watch: &Watch) -> Result<StagedCheckpoint, StagingError> {
        let folder = StageFolder::open(&self.disk, 0)?;
        stage_in(&folder, &self.checkpoint, Duration::from_secs(1), watch)
    }

    fn folder(&self) -> PathBuf {
        let files = SourceFiles::of(&self.checkpoint).unwrap();
        StageFolder::path_on(&self.disk).join(&files.key)
    }

    fn shard(&self) -> PathBuf {
        let name = self.checkpoint.inventory.shards[0].path.file_name().unwrap();
        self.folder().join("model").join(name)
    }

    /// The bytes of the shard's second piece.
    fn second_bytes(&self) -> u64 {
        self.checkpoint.inventory.shards[0].bytes - PIECE_BYTES
    }

    /// Keeps only those lines of the record.
    fn keep(&self, lines: impl Fn(&str) -> bool) {
        let record = self.folder().join("record");
        let text = std::fs::read_to_string(&record).unwrap();
        let kept: String = text.lines().filter(|l| lines(l)).map(|l| format!("{l}\n")).collect();
        std::fs::write(&record, kept).unwrap();
    }

    fn assert_staged(&self, staged: &StagedCheckpoint) {
        let read = |path: &Path| std::fs::read(path).unwrap();
        assert!(read(&self.shard()) == read(&self.checkpoint.inventory.shards[0].path));
        assert!(is_staged(&self.checkpoint, &self.disk));
        let copy = Checkpoint::open(&staged.root).unwrap();
        assert_eq!(copy.identity().unwrap().digest, self.checkpoint.identity().unwrap().digest);
        staged.verify(&Watch::silent()).unwrap();
    }
}

/// Writes another number into each MiB of a sparse shard but its first, which has the header.
fn mark(shard: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(shard).unwrap();
    for number in 1..file.metadata().unwrap().len() >> 20 {
        file.write_all_at(&number.to_le_bytes(), number << 20).unwrap();
    }
}

#[test]
fn an_unfinished_file_is_continued_at_its_first_missing_piece() {
    let bench = Bench::new();
    assert!(!is_staged(&bench.checkpoint, &bench.disk));
    let first = bench.stage().unwrap();
    assert_eq!((first.copied_bytes, first.kept_bytes), (first.bytes, 0));
    bench.assert_staged(&first);
    drop(first);
    // As a kill in mid copy leaves it: the file has its full length from the start.
    let part = bench.shard().with_extension("safetensors.part");
    std::fs::rename(bench.shard(), &part).unwrap();
    let shard = SourceFiles::of(&bench.checkpoint).unwrap().files.len() - 1;
    let left = |line: &str| {
        line != "complete"
            && !line.starts_with(&format!("file {shard} "))
            && !line.starts_with(&format!("piece {shard} 1 "))
    };
    bench.keep(left);
    let file = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
    file.write_all_at(&[7; 1000], PIECE_BYTES + 5).unwrap();
    let second = bench.stage().unwrap();
    assert_eq!(second.copied_bytes, bench.second_bytes());
    assert_eq!(second.kept_bytes, second.bytes - bench.second_bytes());
    bench.assert_staged(&second);
    drop(second);
    // The recorded piece is not on the disk: the node has crashed.
    std::fs::rename(bench.shard(), &part).unwrap();
    bench.keep(left);
    file.write_all_at(&[7; 1000], 5).unwrap();
    let third = bench.stage().unwrap();
    assert_eq!(third.copied_bytes, bench.checkpoint.inventory.shards[0].bytes);
    bench.assert_staged(&third);
}

#[test]
fn a_file_that_was_renamed_but_not_recorded_is_kept_after_it_was_read_back() {
    let bench = Bench::new();
    drop(bench.stage().unwrap());
    bench.keep(|line| line != "complete" && !line.starts_with("file "));
    let second = bench.stage().unwrap();
    assert_eq!((second.copied_bytes, second.kept_bytes), (0, second.bytes));
    assert_eq!(second.changed_files, 0);
    bench.assert_staged(&second);
}

#[test]
fn a_file_that_was_changed_truncated_or_removed_is_copied_again() {
    let bench = Bench::new();
    drop(bench.stage().unwrap());
    let shard = bench.checkpoint.inventory.shards[0].bytes;
    let changes: [fn(&Path); 4] = [
        |path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(99).unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"x", 1000).unwrap();
            file.set_modified(modified).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&bench.shard());
        assert!(!is_staged(&bench.checkpoint, &bench.disk), "change {number}");
        let again = bench.stage().unwrap();
        assert_eq!((again.copied_bytes, again.changed_files), (shard, 1), "change {number}");
        bench.assert_staged(&again);
    }
}

#[test]
fn a_task_waits_no_longer_than_the_copy_goes_on() {
    let bench = Bench::new();
    let files = SourceFiles::of(&bench.checkpoint).unwrap();
    let place = StageFolder::open(&bench.disk, 0).unwrap().place(&files.key);
    let held = place.try_copy().unwrap().unwrap();
    let error = bench.stage().unwrap_err();
    assert!(matches!(error, StagingError::Held { seconds: 1, .. }), "{error}");
    assert!(error.leaves_source());
    drop(held);
    let staged = bench.stage().unwrap();
    assert!(is_complete(&place, &files));
    assert!(CopyRecord::read(&place.record()).complete);
    // A copy in use is not removed.
    assert_eq!(remove_unused(&bench.disk).unwrap(), (Vec::new(), 1));
    drop(staged);
    let (removed, in_use) = remove_unused(&bench.disk).unwrap();
    assert_eq!((removed.len(), in_use), (1, 0));
    assert_eq!(removed[0].source, bench.checkpoint.root.display().to_string());
    assert!(!is_staged(&bench.checkpoint, &bench.disk));
}

#[test]
fn an_interrupted_copy_is_kept_and_a_changed_checkpoint_is_an_error() {
    let bench = Bench::new();
    let canceled = Watch::silent();
    canceled.cancel();
    let ended = bench.stage_watched(&canceled);
    assert!(matches!(ended, Err(StagingError::Canceled)), "{ended:?}");
    assert!(bench.folder().exists());
    drop(bench.stage().unwrap());
    let shard = &bench.checkpoint.inventory.shards[0].path;
    let file = std::fs::OpenOptions::new().write(true).open(shard).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    let error = bench.stage().unwrap_err();
    assert!(matches!(error, StagingError::Changed { how: "written to", .. }), "{error}");
    assert!(!error.leaves_source());
}

#[test]
fn what_is_no_file_is_not_staged() {
    let bench = Bench::new();
    let root = &bench.checkpoint.root;
    let fifo = std::process::Command::new("mkfifo").arg(root.join("tokenizer.json")).status();
    assert!(fifo.unwrap().success());
    let error = bench.stage().unwrap_err();
    assert!(matches!(error, StagingError::NotPlain { .. }) && error.leaves_source(), "{error}");
    std::fs::remove_file(root.join("tokenizer.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("tokenizer.json")).unwrap();
    let error = bench.stage().unwrap_err();
    assert!(matches!(error, StagingError::Source { .. }) && error.leaves_source(), "{error}");
}
