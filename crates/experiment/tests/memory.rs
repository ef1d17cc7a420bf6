//! Tests the peak memory of a long run. It must be the only test of its file, since the peak is
//! measured for the whole process.
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use common::run_to_end;
use experiment::Config;

/// Peak of the process's resident memory since the last reset, in bytes.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_run_of_5000_steps_takes_less_than_20_mb_and_its_log_is_compressed() {
    let text = "env: {max_steps: 5000, complexity_level: 4, initial_budget: 1000000}\nagent: {policy: careful}\n\
                demand: {max_lost_share: 1}\ncrash_detector: {continue_after_crash: 1000000}\npe_induction: {p_shock: 0.5}\n";
    let config = Config::parse(text, "long.yaml", &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Writing 5 to `clear_refs` resets the peak to the current resident memory.
    let Some(before) =
        std::fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| peak_bytes())
    else {
        eprintln!("SKIPPED: this system does not report the peak of resident memory");
        return;
    };
    let summary = run_to_end(&config, folder.path(), 1);
    let used = peak_bytes().unwrap() - before;
    assert_eq!(summary.closing[0].steps, 5000);
    eprintln!("{:.1} MB", used as f64 / 1e6);
    assert!(used < 20_000_000, "{used} bytes");
    // The large log was compressed, and can still be replayed.
    let store = results::Store::open(folder.path()).unwrap();
    let names = |folder: &results::RunFolder| {
        let names =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> =
            names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&store.runs().unwrap()[0]), ["run.json", "steps.1.jsonl.zst"]);
    assert_eq!(experiment::replay_all(&store).unwrap()[0].steps, 5000);
}
