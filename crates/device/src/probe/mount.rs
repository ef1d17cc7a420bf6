//! The file system of a checkpoint.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use placement::Disk;

use super::roots::Roots;

/// Prefixes of the types of network file systems. FUSE is included, since its storage is unknown.
const NETWORK: [&str; 22] = [
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb",
    "fuse",
    "glusterfs",
    "9p",
    "afs",
    "orangefs",
    "pvfs2",
    "panfs",
    "wekafs",
    "ncpfs",
    "coda",
    "ocfs2",
    "gfs2",
    "virtiofs",
    "davfs",
    "acfs",
];

/// One line of `/proc/self/mountinfo` (see proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The folder of the file system that is mounted.
    pub root: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// Type of the file system, such as `ext4`.
    pub kind: String,
    /// Options of the file system itself.
    options: String,
}

impl Mount {
    pub fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    fn is_network(&self) -> bool {
        NETWORK.iter().any(|name| self.kind.starts_with(name))
    }
}

pub(super) fn mounts(roots: &Roots) -> Vec<Mount> {
    roots.proc("self/mountinfo").unwrap_or_default().lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (unescaped(mount.next()?), unescaped(mount.next()?));
    let mut system = system.split(' ');
    let kind = system.next()?.to_owned();
    let options = system.nth(1).unwrap_or_default().to_owned();
    Some(Mount { root, point, kind, options })
}

/// Decodes octal escapes, such as `\040` for a space.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// The disk that holds `path`, after following links.
pub(super) fn disk(roots: &Roots, path: &Path, notes: &mut Vec<String>) -> Disk {
    let real = std::fs::canonicalize(path).unwrap_or_else(|error| {
        notes.push(format!("{}: its file system is unknown ({error})", path.display()));
        path.to_owned()
    });
    let mounts = mounts(roots);
    // Of two mounts on the same point, the later hides the earlier.
    let holds = mounts.iter().filter(|mount| real.starts_with(&mount.point));
    let mount = holds.max_by_key(|mount| mount.point.as_os_str().len());
    Disk {
        free_bytes: free_bytes(&real),
        read_bytes_per_s: None,
        file_system: mount.map(|mount| mount.kind.clone()).unwrap_or_default(),
        mount: mount.map(|mount| mount.point.display().to_string()).unwrap_or_default(),
        network: mount.is_some_and(Mount::is_network),
    }
}

/// Bytes that are free for unprivileged users.
fn free_bytes(path: &Path) -> Option<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statvfs consists of integers, so all-zero bytes are valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `stat` is local; both outlive the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), &mut stat) };
    #[allow(clippy::unnecessary_cast)] // the width of these fields differs between systems
    let free = || (stat.f_bavail as u64).checked_mul(stat.f_frsize as u64);
    if code == 0 { free() } else { None }
}
