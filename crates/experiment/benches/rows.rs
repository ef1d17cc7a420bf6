//! Benchmark of scripted runs that write rows, and of their replay: steps per second of wall time,
//! and steps per second of CPU time, which other load on the machine affects little. Also the share
//! of the store's own work (claims, syncs, commits) in runs of 500 steps. Logs are not compressed.
//! Run with `cargo bench -p experiment`.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "a benchmark")]

use experiment::{Config, NoModels, RunEvent, RunOptions, replay_all, run_experiment};
use results::{AttemptWriter, ClaimOutcome, RunRecord, Store};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    // No folder is deleted before the end: ext4 skips recently deleted inodes one by one when it
    // creates files, which the next measurement would pay for.
    let mut folders = Vec::new();
    for (design, level) in [("v1", 0), ("v2", 0), ("v1", 4), ("v2", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let begun = Moment::now(process_cpu_s);
        let steps = run(folder.path(), design, level, Runs { steps: 5000, count: 8 });
        let report = |what: &str, (clock, core): (f64, f64)| {
            let rate = |seconds: f64| steps as f64 / seconds;
            println!(
                "design {design}, level {level}: {steps} steps {what}, {:.0} steps/s in wall time, {:.0} steps/s in CPU time",
                rate(clock),
                rate(core)
            );
        };
        report("with rows", begun.seconds());
        let begun = Moment::now(process_cpu_s);
        replay_all(&Store::open(folder.path()).unwrap()).unwrap();
        report("replayed", begun.seconds());
        folders.push(folder);
    }
    store_share(Runs { steps: 500, count: 80 });
}

/// Number of runs, and of steps of each.
#[derive(Clone, Copy)]
struct Runs {
    steps: u64,
    count: u64,
}

/// Carries out runs of the careful operator; returns the number of their steps.
fn run(folder: &Path, design: &str, level: u8, runs: Runs) -> u64 {
    let Runs { steps, count } = runs;
    let text = format!(
        "env: {{max_steps: {steps}, complexity_level: {level}, initial_budget: 1000000}}\nagent: {{policy: careful}}\ncrash_detector: \
         {{continue_after_crash: 1000000}}\ndemand: {{max_failures: 1000000, max_lost_share: 1}}\nexperiment: {{design: {design}, replications: {count}, compress_logs: false}}\n"
    );
    let config = Config::parse(&text, "bench", &[]).unwrap();
    let options = RunOptions {
        folder: folder.to_path_buf(),
        jobs: 1,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: Duration::ZERO,
        provenance: results::Provenance::default(),
    };
    let summary =
        run_experiment(&config, &NoModels, &options, &|_: &RunEvent| (), &|| false).unwrap();
    summary.closing.iter().map(|row| row.steps).sum()
}

/// Measures whole runs, then the store's work on the same runs alone: all claims, and after the
/// rows are written again, all commits.
fn store_share(runs: Runs) {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let begun = Moment::now(process_cpu_s);
    run(first.path(), "v2", 4, runs);
    let whole = begun.seconds();
    let first = Store::open(first.path()).unwrap();
    let folders = first.runs().unwrap();
    let records: Vec<RunRecord> =
        folders.iter().map(|folder| folder.committed().unwrap().unwrap()).collect();
    let store = Store::create(second.path(), first.experiment()).unwrap();
    let begun = Moment::now(thread_cpu_s);
    let mut writers: Vec<AttemptWriter> =
        records.iter().map(|record| begin(&store, &record.run_id)).collect();
    let claims = begun.seconds();
    for (writer, folder) in writers.iter_mut().zip(&folders) {
        folder.rows().unwrap().iter().for_each(|row| writer.append(row).unwrap());
    }
    let begun = Moment::now(thread_cpu_s);
    for (writer, record) in writers.into_iter().zip(records) {
        writer.commit(record).unwrap();
    }
    let commits = begun.seconds();
    let report = |clock: &str, whole: f64, claims: f64, commits: f64| {
        let (ms, store) = (1000.0 / runs.count as f64, claims + commits);
        println!(
            "store, {} runs of {} steps, {clock}: a claim {:.3} ms, a commit {:.3} ms, together {:.1}% of {:.2} ms for the rest",
            runs.count,
            runs.steps,
            claims * ms,
            commits * ms,
            100.0 * store / (whole - store),
            (whole - store) * ms
        );
    };
    report("wall time", whole.0, claims.0, commits.0);
    report("CPU time", whole.1, claims.1, commits.1);
}

/// Claims a run and begins an attempt, as the execution of a run does.
fn begin(store: &Store, run_id: &str) -> AttemptWriter {
    let folder = store.run(run_id);
    assert!(!folder.is_committed());
    let ClaimOutcome::Acquired(claim) = store.claim(run_id).unwrap() else {
        panic!("run {run_id} is claimed")
    };
    assert!(!folder.is_committed() && folder.longest_attempt().unwrap().is_none());
    folder.begin(claim).unwrap()
}

/// A moment in wall time and in CPU time.
struct Moment {
    clock: Instant,
    core_s: f64,
    cpu_s: fn() -> f64,
}

impl Moment {
    fn now(cpu_s: fn() -> f64) -> Moment {
        Moment { clock: Instant::now(), core_s: cpu_s(), cpu_s }
    }

    /// Seconds since, of wall time and of CPU time.
    fn seconds(&self) -> (f64, f64) {
        (self.clock.elapsed().as_secs_f64(), (self.cpu_s)() - self.core_s)
    }
}

/// User and system CPU time of the process in seconds, with a resolution of 10 ms; NaN if the
/// operating system does not report it.
fn process_cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}

/// CPU time of this thread in seconds; NaN if the operating system does not report it.
fn thread_cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
}
