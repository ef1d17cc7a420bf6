//! Resource limits of the process.

use placement::LimitFound;

use super::roots::{Roots, field};

/// `RLIMIT_AS` and `RLIMIT_DATA` with their current use. Both limit mapped memory.
pub(super) fn address_space(roots: &Roots) -> Vec<LimitFound> {
    let limits = roots.proc("self/limits").unwrap_or_default();
    let status = roots.proc("self/status").unwrap_or_default();
    let limit = |(line, key, what): (&str, &str, &str)| {
        let rest = limits.lines().find_map(|l| l.strip_prefix(line))?;
        let bytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
        let used_bytes = field(&status, key).unwrap_or(0).saturating_mul(1024);
        Some(LimitFound { what: what.to_owned(), bytes, used_bytes })
    };
    let known = [
        ("Max address space", "VmSize", "the limit on address space (ulimit -v)"),
        ("Max data size", "VmData", "the limit on data (ulimit -d)"),
    ];
    known.into_iter().filter_map(limit).collect()
}
