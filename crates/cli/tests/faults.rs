//! Injects every fault of `docs/faults.md` into a run of the program, and checks exit code and
//! message.

#[path = "../../../tests/faults/table.rs"]
mod table;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use table::Row;

/// The second shard, into which most faults are injected.
const SHARD: &str = "model-00002-of-00003.safetensors";
const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 8000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// A mixture of experts of 67 MB with one layer: its second shard of three has nothing but experts.
const EXPERTS_CONFIG: &str = r#"{
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "moe_intermediate_size": 1280, "num_experts": 16,
    "num_experts_per_tok": 6, "norm_topk_prob": true, "num_hidden_layers": 1, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// A fault, and how to inject it into a run of the program.
struct InjectedFault {
    name: &'static str,
    /// Rules for `tests/faults/interpose.c`, a library that is preloaded if there are any rules.
    rules: &'static str,
    /// Changes a copy of the checkpoint before the program starts; `None` if the program uses the
    /// original.
    prepare: Option<fn(&Path)>,
    /// The command line, in which MODEL, CONFIG and OUT are replaced with the paths of the
    /// checkpoint, a configuration and an empty folder, and EXPERTS with that of the mixture of
    /// experts.
    line: &'static str,
    /// A signal to send half a second after the program has started.
    signal: Option<&'static str>,
    /// Limit of the address space in KiB, set with `ulimit -v`.
    address_space_kib: Option<u64>,
}

const LOAD: &str = "load MODEL --stall-timeout 2";
/// With int8 the weights are read, not memory-mapped.
const READ: &str = "load MODEL --stall-timeout 2 --dtype int8";
const DISK: &str = "load MODEL --stall-timeout 2 --device-map disk";
const EXPERTS: &str = "load EXPERTS --stall-timeout 2 --device-map disk";
const TEXT: &str = "generate MODEL -p x --stall-timeout 2";
const RUN: &str = "run --config CONFIG --set agent.policy=careful --out OUT";

const fn fault(name: &'static str, line: &'static str, rules: &'static str) -> InjectedFault {
    InjectedFault { name, rules, prepare: None, line, signal: None, address_space_kib: None }
}

const fn on_a_copy(
    name: &'static str,
    line: &'static str,
    rules: &'static str,
    prepare: fn(&Path),
) -> InjectedFault {
    InjectedFault { prepare: Some(prepare), ..fault(name, line, rules) }
}

const fn signalled(
    name: &'static str,
    line: &'static str,
    rules: &'static str,
    signal: &'static str,
) -> InjectedFault {
    InjectedFault { signal: Some(signal), ..fault(name, line, rules) }
}

fn nothing(_: &Path) {}

/// Writes a tokenizer file with dummy contents, because the fault prevents the program from reading
/// it.
fn some_tokenizer(model: &Path) {
    std::fs::write(model.join("tokenizer.json"), "{}").expect("a file");
}

/// Writes `bytes` at byte `at` of a tensor.
fn overwrite(model: &Path, tensor: &str, at: usize, bytes: &[u8]) {
    for entry in std::fs::read_dir(model).expect("the checkpoint").flatten() {
        let mut file = std::fs::read(entry.path()).expect("a file");
        let Some(length) = file.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) else {
            continue;
        };
        let header = file.get(8..8usize.saturating_add(length as usize));
        let header: Option<Value> = header.and_then(|json| serde_json::from_slice(json).ok());
        let first = header.and_then(|header| header[tensor]["data_offsets"][0].as_u64());
        let Some(first) = first else { continue };
        let at = 8 + (length + first) as usize + at;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        return std::fs::write(entry.path(), file).expect("a shard");
    }
    panic!("no {tensor} in {}", model.display());
}

#[rustfmt::skip]
const FAULTS: &[InjectedFault] = &[
    fault("an intact checkpoint", LOAD, ""),
    fault("config.json never opens", LOAD, "open,config.json,0,hang"),
    fault("a read of config.json never returns", LOAD, "pread,/config.json,0,hang"),
    fault("a read of the index never returns", LOAD, "pread,index.json,0,hang"),
    fault("a shard never opens", LOAD, "open,model-00002,0,hang"),
    fault("a read of a header never returns", LOAD, "pread,model-00002,0,hang"),
    fault("a header gives an I/O error", LOAD, "pread,model-00002,0,eio"),
    fault("the memory's file never opens", LOAD, "open,/proc/meminfo,0,hang"),
    fault("a read of a weight never returns", READ, "pread,model-00002,10000000,hang"),
    fault("a read of a weight comes back short every time", READ, "pread,model-00002,10000000,short"),
    fault("reads are interrupted by signals", READ, "pread,model-00002,0,eintr"),
    fault("a read of a weight gives an I/O error", READ, "pread,model-00002,10000000,eio"),
    fault("a network mount lost the file", READ, "pread,model-00002,10000000,estale"),
    fault("a read of a weight meets the end of the file", READ, "pread,model-00002,10000000,eof"),
    fault("reads crawl at 1 MiB/s", "load MODEL --dtype int8 --deadline 8", "pread,.safetensors,100000,slow"),
    on_a_copy("a shard is truncated while it is read", READ, "pread,model-00002,10000000,truncate", nothing),
    on_a_copy("a shard is truncated while it is mapped", LOAD, "mmap,model-00002,0,truncate", nothing),
    on_a_copy("a shard is replaced while it is read", READ, "pread,model-00002,10000000,replace", |model| {
        std::fs::copy(model.join(SHARD), model.join(format!("{SHARD}.other"))).expect("a copy");
    }),
    on_a_copy("a shard is written to while it is read", READ, "pread,model-00002,10000000,touch", nothing),
    fault("a shard may not be read", LOAD, "open,model-00002,0,eacces"),
    fault("too many files are open", LOAD, "open,model-00002,0,emfile"),
    fault("a shard cannot be mapped", LOAD, "mmap,model-00002,0,enomem"),
    fault("the system refuses the memory", "load MODEL --dtype int8 --fallback none", "mmap,anon,30000000,enomem"),
    fault("the system refuses the memory, and a lower rung takes less", "load MODEL --dtype int8 --context 512", "mmap,anon,30000000,enomem"),
    InjectedFault { address_space_kib: Some(260_000), ..fault("an address-space limit below the plan", "load MODEL --dtype int8 --fallback none --context 2048 --concurrency 8 --threads 2", "") },
    fault("a read never returns in the disk tier", DISK, "pread,model-00002,1000000,hang"),
    fault("the disk tier's disk fails", DISK, "pread,model-00002,1000000,eio"),
    fault("a read of an expert never returns", EXPERTS, "pread,model-00002,1000000,hang"),
    fault("a read of an expert comes back short every time", EXPERTS, "pread,model-00002,1000000,short"),
    fault("the disk of the experts fails", EXPERTS, "pread,model-00002,1000000,eio"),
    on_a_copy("a shard of experts is truncated while it is used", EXPERTS, "pread,model-00002,1000000,truncate", nothing),
    on_a_copy("a shard of experts is written to while it is used", EXPERTS, "pread,model-00002,1000000,touch", nothing),
    fault("reads of experts crawl at 1 MiB/s", "load EXPERTS --device-map disk --deadline 8", "pread,model-00002,1000000,slow"),
    on_a_copy("the tokenizer never opens", LOAD, "open,tokenizer.json,0,hang", some_tokenizer),
    on_a_copy("weights that are not numbers", LOAD, "", |model| {
        let mut bytes = std::fs::read(model.join(SHARD)).expect("a shard");
        let middle = bytes.len() / 2 / 2 * 2;
        bytes[middle..middle + 4096].fill(0xff);
        std::fs::write(model.join(SHARD), bytes).expect("a shard");
    }),
    on_a_copy("a router that is not finite", "load EXPERTS", "", |model| {
        let name = "model.layers.0.mlp.gate.weight";
        // Infinity in bf16.
        overwrite(model, name, 3 * 2, &[0x80, 0x7f]);
    }),
    signalled("SIGTERM while headers are read", LOAD, "pread,model-00002,0,hang", "TERM"),
    signalled("SIGINT while headers are read", LOAD, "pread,model-00002,0,hang", "INT"),
    signalled("SIGTERM while the machine is probed", LOAD, "open,/proc/meminfo,0,hang", "TERM"),
    signalled("SIGTERM while weights are read", READ, "pread,model-00002,10000000,hang", "TERM"),
    signalled("SIGINT while weights are read", READ, "pread,model-00002,10000000,hang", "INT"),
    InjectedFault { prepare: Some(some_tokenizer), ..signalled("SIGTERM while the tokenizer is built", LOAD, "open,tokenizer.json,0,hang", "TERM") },
    signalled("SIGTERM in the smoke test", DISK, "pread,model-00002,1000000,hang", "TERM"),
    fault("no tokenizer, for a text", TEXT, ""),
    fault("no tokenizer, for a load", LOAD, ""),
    on_a_copy("a tokenizer that is cut", TEXT, "", |model| {
        std::fs::write(model.join("tokenizer.json"), "{\"version\": \"1.0\", \"model\": {").expect("a file");
    }),
    on_a_copy("a tokenizer of a tebibyte", TEXT, "", |model| {
        let file = std::fs::File::create(model.join("tokenizer.json")).expect("a file");
        file.set_len(1 << 40).expect("a hole");
    }),
    fault("no space for a run's claim", RUN, "create,claim,0,enospc"),
    fault("no space for a step", RUN, "write,steps.,3000,enospc"),
    fault("a quota that is used up", RUN, "write,steps.,3000,edquot"),
    fault("a results folder that may not be written", RUN, "create,OUT,0,erofs"),
    fault("no space for a synthetic checkpoint", "synth --like smollm2-135m --random 1 OUT/new", "write,OUT,0,enospc"),
];

#[test]
fn every_fault_ends_as_the_table_says() {
    let bench = FaultBench::new();
    let rows: Vec<Row> =
        ["While it is loaded", "Around it"].into_iter().flat_map(table::rows).collect();
    for row in &rows {
        assert!(
            FAULTS.iter().any(|fault| fault.name == row.fault),
            "docs/faults.md: no test injects {:?}",
            row.fault
        );
    }
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(fault) = FAULTS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = rows.iter().find(|row| row.fault == fault.name);
            let row = row.unwrap_or_else(|| panic!("docs/faults.md: no row for {:?}", fault.name));
            if let Err(why) = bench.check(fault, row) {
                wrong.lock().expect("no panic").push(format!("{}: {why}", fault.name));
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    // The program only reads the checkpoint, so after all faults the original is still intact.
    let row = &rows[0];
    assert_eq!(row.fault, "an intact checkpoint");
    bench.check(&FAULTS[0], row).expect("the checkpoint is intact after all that");
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
}

/// A folder with the checkpoint and the compiled library `interpose.so`.
struct FaultBench {
    folder: tempfile::TempDir,
}

impl FaultBench {
    fn new() -> Self {
        let bench = FaultBench { folder: tempfile::tempdir().expect("a folder") };
        bench.synthesize(CONFIG, "mid");
        bench.synthesize(EXPERTS_CONFIG, "experts");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/interpose.c");
        let compiled = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-O1",
                "-o",
                &text(&bench.path("interpose.so")),
                &text(&source),
                "-ldl",
            ])
            .output()
            .expect("a C compiler, which building the program takes too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        bench
    }

    /// Writes a checkpoint of three shards.
    fn synthesize(&self, config: &str, name: &str) {
        let like = self.path("shape.json");
        std::fs::write(&like, config).expect("a file");
        let (like, folder) = (text(&like), text(&self.path(name)));
        let synth = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args(["synth", "--like", &like, "--shards", "3", "--random", "7", &folder])
            .output()
            .expect("the program starts");
        assert!(synth.status.success(), "{}", String::from_utf8_lossy(&synth.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Injects a fault; returns an error if exit code, message or duration differ from those in the
    /// table's row.
    fn check(&self, fault: &InjectedFault, row: &Row) -> Result<(), String> {
        let own = self.path(&fault.name.replace([' ', '/', '\''], "-"));
        std::fs::create_dir_all(own.join("out")).expect("a folder");
        let name = if fault.line.contains("EXPERTS") { "experts" } else { "mid" };
        let model = match fault.prepare {
            None => self.path(name),
            Some(prepare) => {
                let copy = own.join(name);
                std::fs::create_dir_all(&copy).expect("a folder");
                for entry in std::fs::read_dir(self.path(name)).expect("the checkpoint").flatten() {
                    std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
                }
                prepare(&copy);
                copy
            }
        };
        let since = Instant::now();
        let (exit, stderr) = self.run(fault, &model, &own);
        drop(std::fs::remove_dir_all(&own));
        let lacking: Vec<&String> =
            row.words.iter().filter(|word| !stderr.contains(word.as_str())).collect();
        if exit != Some(i32::from(row.exit)) || !lacking.is_empty() || stderr.contains("panicked") {
            return Err(format!(
                "expected {} , found {exit:?}, lacking {lacking:?}: {stderr}",
                row.exit
            ));
        }
        let limit = Duration::from_secs(30);
        if since.elapsed() > limit { Err(format!("took {:?}", since.elapsed())) } else { Ok(()) }
    }

    fn run(&self, fault: &InjectedFault, model: &Path, own: &Path) -> (Option<i32>, String) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/local_test.yaml");
        let out = text(&own.join("out"));
        let fill = |s: &str| {
            let s = s.replace("MODEL", &text(model)).replace("EXPERTS", &text(model));
            s.replace("OUT", &out).replace("CONFIG", &text(&config))
        };
        let stderr = own.join("stderr");
        let mut command = Command::new("env");
        let limit =
            fault.address_space_kib.map_or(String::new(), |kib| format!("ulimit -v {kib}; "));
        // The program respects a SIGINT that is ignored, as in the background jobs of a script.
        command.args([
            "--default-signal=INT,TERM",
            "sh",
            "-c",
            &format!("{limit}exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_vendomini"),
        ]);
        command.args(fault.line.split(' ').map(fill)).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&stderr).expect("a file")).process_group(0);
        if !fault.rules.is_empty() {
            command.env("LD_PRELOAD", self.path("interpose.so")).env("FAULT", fill(fault.rules));
        }
        let mut child = command.spawn().expect("the program starts");
        let exit = match fault.signal {
            None => wait(&mut child, Duration::from_secs(30)),
            Some(signal) => {
                std::thread::sleep(Duration::from_millis(500));
                let sent = Command::new("kill")
                    .args([&format!("-{signal}"), &child.id().to_string()])
                    .status();
                assert!(
                    sent.expect("kill").success(),
                    "{}: it ended before the signal",
                    fault.name
                );
                // The program must end within a second; the rest is tolerance for a busy machine.
                wait(&mut child, Duration::from_millis(1500))
            }
        };
        (exit, std::fs::read_to_string(&stderr).unwrap_or_default())
    }
}

/// Waits for the program and returns its exit code; `None` if it had to be killed after `limit` or
/// a signal ended it.
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let since = Instant::now();
    while since.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Not by kill(1): that of procps 4.0.2 takes -1234 for -1, which is every process.
    let _ended = kill_process_group(Pid::from_child(child), Signal::KILL);
    None
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
