//! Control groups with a memory limit, for tests.
#![allow(clippy::print_stderr, reason = "a test")]

use super::running::Running;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A control group (v1 or v2) with a memory limit; removed when dropped.
pub struct Cgroup {
    folder: PathBuf,
    files: &'static CgroupFiles,
}

struct CgroupFiles {
    limit: &'static str,
    used: &'static str,
    kills: &'static str,
}

const V1: CgroupFiles = CgroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    kills: "memory.oom_control",
};
const V2: CgroupFiles =
    CgroupFiles { limit: "memory.max", used: "memory.current", kills: "memory.events" };

impl Cgroup {
    /// Creates a group. If this process may not create one, prints SKIPPED on stderr and returns
    /// `None`.
    pub fn with_limit(name: &str, bytes: u64) -> Option<Cgroup> {
        let name = format!("vendomini-test-{}-{name}", std::process::id());
        for (root, files) in [("/sys/fs/cgroup/memory", &V1), ("/sys/fs/cgroup", &V2)] {
            let group = Cgroup { folder: PathBuf::from(root).join(&name), files };
            if fs::create_dir(&group.folder).is_ok()
                && fs::write(group.folder.join(files.limit), bytes.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        eprintln!(
            "SKIPPED: no control group with a memory limit can be created here (this needs root)"
        );
        None
    }

    /// Changes the memory limit of the group, also while processes run in it.
    pub fn set_limit(&self, bytes: u64) {
        let set = fs::write(self.folder.join(self.files.limit), bytes.to_string());
        set.unwrap_or_else(|error| panic!("the limit cannot be lowered to {bytes}: {error}"));
    }

    /// Bytes of memory that the group's processes use.
    pub fn used_bytes(&self) -> u64 {
        fs::read_to_string(self.folder.join(self.files.used))
            .expect("a group")
            .trim()
            .parse()
            .expect("a number")
    }

    /// The number of processes in the group that the kernel has killed for memory.
    pub fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.files.kills)).expect("a group");
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .expect("a counter")
            .parse()
            .expect("a number")
    }

    /// Starts a command in the group.
    pub fn start(&self, command: Command) -> Running {
        let procs = self.folder.join("cgroup.procs");
        // The shell adds itself to the group and then replaces itself with the command.
        let mut inside = Command::new("sh");
        inside.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(procs);
        inside.arg(command.get_program()).args(command.get_args()).process_group(0);
        for (name, value) in command.get_envs() {
            value.map(|value| inside.env(name, value));
        }
        inside
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        Running::new(inside.spawn().expect("the program starts"))
    }

    /// Runs a command in the group until it ends; panics if that takes longer than `limit`.
    pub fn run(&self, command: Command, limit: Duration) -> Output {
        self.start(command).ends(limit)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel needs a moment until the group of an ended process can be removed.
        let since = Instant::now();
        while fs::remove_dir(&self.folder).is_err() && since.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
