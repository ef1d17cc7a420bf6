//! What Slurm's accounting recorded of finished and running tasks, from `sacct`.

use crate::failure::Failure;
use crate::slurm;
use std::collections::BTreeMap;

/// Fields that are asked of sacct, in this order.
const FIELDS: &str = "JobID,State,ExitCode,ElapsedRaw,TimelimitRaw,ReqMem,MaxRSS,AllocCPUS";
/// Bytes of the unit of memory of sacct's `M`.
const MIB: f64 = 1024.0 * 1024.0;

/// One task of an array, over all its starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccountedTask {
    /// Slurm's state of the last start, such as `COMPLETED` or `OUT_OF_MEMORY`.
    pub state: String,
    /// Exit code of the last start.
    pub exit_code: Option<i32>,
    pub starts: u64,
    /// Seconds of the longest start.
    pub longest_s: u64,
    /// Seconds of all starts together.
    pub total_s: u64,
    pub time_limit_min: Option<u64>,
    pub memory_asked_mib: Option<u64>,
    /// Largest resident memory that Slurm saw.
    pub memory_peak_bytes: Option<u64>,
    ran_out_of_memory: bool,
}

impl AccountedTask {
    /// Whether a start ended because its memory was too small.
    pub fn ran_out_of_memory(&self) -> bool {
        self.ran_out_of_memory
    }

    /// Whether the task is queued, runs or is about to be started again.
    pub fn is_active(&self) -> bool {
        let state = self.state.split(' ').next().unwrap_or_default();
        ["PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING"].contains(&state)
    }
}

/// Asks sacct about job arrays. The tasks are by their id, `<array>_<index>`.
///
/// # Errors
/// `Unavailable` if there is no sacct, no accounting, or its answer cannot be read.
pub fn accounted(jobs: &[u64]) -> Result<BTreeMap<String, AccountedTask>, Failure> {
    let jobs: Vec<String> = jobs.iter().map(u64::to_string).collect();
    let answer = slurm::call(
        "sacct",
        &[
            "-j".into(),
            jobs.join(","),
            "--parsable2".into(),
            "--noheader".into(),
            // All starts of requeued tasks, and not only the last one.
            "--duplicates".into(),
            format!("--format={FIELDS}"),
        ],
    )?;
    parse(&answer).map_err(|line| {
        Failure::new(
            error_kind::ErrorKind::Unavailable,
            format!("cannot read the output of sacct: expected {FIELDS}, found {line:?}"),
        )
    })
}

/// Parses sacct's answer. Rows such as `7_0` are starts of tasks, rows such as `7_0.batch` are
/// their steps, which follow them. The error is a line that is neither.
fn parse(answer: &str) -> Result<BTreeMap<String, AccountedTask>, String> {
    let mut tasks: BTreeMap<String, AccountedTask> = BTreeMap::new();
    for line in answer.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, state, exit, elapsed, limit, asked, peak, cpus] = fields[..] else {
            return Err(line.to_owned());
        };
        let (id, step) = id.split_once('.').map_or((id, None), |(id, step)| (id, Some(step)));
        // Tasks that are still queued are one row: 7_[3-9%2].
        if id.contains('[') {
            continue;
        }
        let task = tasks.entry(id.to_owned()).or_default();
        let peak = memory_bytes(peak, 1);
        task.memory_peak_bytes = task.memory_peak_bytes.max(peak);
        let out_of_memory = state.starts_with("OUT_OF_ME") || exit.starts_with("71:");
        task.ran_out_of_memory |= out_of_memory;
        if step.is_some() {
            continue;
        }
        let seconds = elapsed.parse().unwrap_or(0);
        task.starts += 1;
        state.clone_into(&mut task.state);
        task.exit_code = exit.split(':').next().and_then(|code| code.parse().ok());
        task.longest_s = task.longest_s.max(seconds);
        task.total_s += seconds;
        task.time_limit_min = limit.parse().ok().or(task.time_limit_min);
        let asked = memory_bytes(asked, cpus.parse().unwrap_or(1));
        task.memory_asked_mib =
            asked.map(|bytes| (bytes as f64 / MIB).round() as u64).or(task.memory_asked_mib);
    }
    Ok(tasks)
}

/// Parses an amount of memory: `4000M`, `1.5G`, `812344K`, in older versions `4000Mn` (a node) and
/// `2Gc` (a core). `None` if it is missing.
fn memory_bytes(text: &str, cpus: u64) -> Option<u64> {
    let (text, times) = match text.strip_suffix('c') {
        Some(text) => (text, cpus),
        None => (text.strip_suffix('n').unwrap_or(text), 1),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1.0,
        "K" => 1024.0,
        "M" => MIB,
        "G" => MIB * 1024.0,
        "T" => MIB * MIB,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    (number > 0.0).then_some((number * unit) as u64 * times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_steps_of_a_task_are_added_up() {
        let answer = "7_0|REQUEUED|0:0|3600|60|4000M||8\n7_0.batch|CANCELLED|0:10|3600|||1500000K|8\n\
                      7_0|COMPLETED|0:0|600|60|4000M||8\n7_0.batch|COMPLETED|0:0|600|||1.25G|8\n\
                      7_1|FAILED|71:0|30|60|500Mc||8\n7_2|OUT_OF_MEMORY|0:125|30|60|1Gn||8\n\
                      7_[3-9%2]|PENDING|0:0|0|60|4000M||8\n";
        let tasks = parse(answer).expect("readable");
        assert_eq!(tasks.len(), 3);
        let first = &tasks["7_0"];
        assert_eq!((first.starts, first.longest_s, first.total_s), (2, 3600, 4200));
        assert_eq!((first.memory_asked_mib, first.time_limit_min), (Some(4000), Some(60)));
        assert_eq!(first.memory_peak_bytes, Some(1_500_000 << 10));
        assert!(!first.ran_out_of_memory() && !first.is_active());
        assert_eq!(tasks["7_1"].memory_asked_mib, Some(4000));
        assert!(tasks["7_1"].ran_out_of_memory() && tasks["7_2"].ran_out_of_memory());
        assert_eq!(parse("a|b\n").expect_err("too few"), "a|b");
    }
}
