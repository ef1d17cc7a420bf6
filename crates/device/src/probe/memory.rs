//! Host memory, from `/proc/meminfo`.

use placement::HugePages;

use super::ProbeError;
use super::roots::{Roots, field};

/// Memory of the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostMemory {
    pub total_bytes: u64,
    /// `MemAvailable`: bytes that can be allocated without swapping.
    pub available_bytes: Option<u64>,
    pub reserved_pages_free: u64,
    pub reserved_page_bytes: u64,
}

pub(super) fn read(roots: &Roots) -> Result<HostMemory, ProbeError> {
    let text = roots.proc("meminfo").unwrap_or_default();
    let kib = |key: &str| field(&text, key).and_then(|kib| kib.checked_mul(1024));
    let Some(total_bytes) = kib("MemTotal").filter(|bytes| *bytes > 0) else {
        let found = if text.is_empty() {
            "a file that cannot be read".to_owned()
        } else {
            format!("{:.80}", text)
        };
        return Err(ProbeError::Memory {
            path: roots.proc.join("meminfo"),
            expected: "a line MemTotal: N kB",
            found,
        });
    };
    Ok(HostMemory {
        total_bytes,
        available_bytes: kib("MemAvailable"),
        reserved_pages_free: field(&text, "HugePages_Free").unwrap_or(0),
        reserved_page_bytes: kib("Hugepagesize").unwrap_or(0),
    })
}

pub(super) fn huge_pages(roots: &Roots, memory: &HostMemory) -> HugePages {
    let setting = roots.sys("kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = setting.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    HugePages {
        transparent: chosen.map(|(word, _)| word.to_owned()).unwrap_or_default(),
        reserved_free: memory.reserved_pages_free,
        page_bytes: memory.reserved_page_bytes,
    }
}
