//! The identity of a process that claims runs.

use serde::{Deserialize, Serialize};
use std::fs;

/// Identity of a process and of one store in it, unique even if a pid is reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub host: String,
    /// Boot id and pid namespace, within which a pid is unique.
    pub world: String,
    pub pid: u32,
    /// Start time of the process in clock ticks since boot.
    pub started_ticks: u64,
    /// Distinguishes the stores of one process.
    pub store: u64,
}

impl Owner {
    /// The identity of this process, with a new `store` number at each call.
    pub fn here() -> Self {
        static STORES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Owner {
            host: read("/proc/sys/kernel/hostname"),
            world: format!("{} {}", read("/proc/sys/kernel/random/boot_id"), namespace.display())
                .trim()
                .to_string(),
            pid,
            started_ticks: started_ticks(pid).unwrap_or(0),
            store: STORES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// Tag for file names, unique among the processes that share the folder.
    pub(crate) fn tag(&self) -> String {
        format!("{}-{}-{}", self.pid, self.started_ticks, self.store)
    }

    /// Host and tag, as a file name.
    pub(crate) fn file_stem(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        let host: String = self.host.chars().map(safe).collect();
        format!("{host}.{}", self.tag())
    }

    /// Whether the process has ended. `None` if it runs under another boot or pid namespace than
    /// `here`, so that this cannot be determined.
    pub(crate) fn gone(&self, here: &Owner) -> Option<bool> {
        let comparable = !self.world.is_empty() && self.world == here.world;
        comparable.then(|| started_ticks(self.pid) != Some(self.started_ticks))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// Start time of a process in clock ticks since boot: field 22 of /proc/<pid>/stat, counted from
/// the end of the command name, which may contain spaces and parentheses. `None` for zombies and if
/// there is no such process.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
