//! Root folders under which the machine is probed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::numa::list_ranges;

/// Root folders and environment variables of the probed machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    pub environment: BTreeMap<String, String>,
}

impl Roots {
    /// The root folders and environment variables of this machine.
    pub fn system() -> Roots {
        Roots {
            proc: PathBuf::from("/proc"),
            sys: PathBuf::from("/sys"),
            environment: std::env::vars_os().filter_map(text).collect(),
        }
    }

    /// Contents of a file under `/proc`; `None` if it cannot be read.
    pub(super) fn proc(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.proc.join(path)).ok()
    }

    /// Contents of a file under `/sys`; `None` if it cannot be read.
    pub(super) fn sys(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.sys.join(path)).ok()
    }

    /// An environment variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Maps a path that the kernel reports, such as a mount point below `/sys`, to these roots.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("/sys"), path.strip_prefix("/proc")) {
            (Ok(rest), _) => self.sys.join(rest),
            (_, Ok(rest)) => self.proc.join(rest),
            _ => path.to_owned(),
        }
    }
}

/// A variable as text; `None` unless it is UTF-8.
fn text((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// The number in the line `key: number unit` or `key number`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.strip_prefix([':', ' ', '\t'])?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// Number of elements of a list such as `0-3,8`.
pub(super) fn list_len(list: &str) -> usize {
    list_ranges(list).map(|range| range.len()).sum()
}
