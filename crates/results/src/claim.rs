//! Claims: files that record which process works on a run. They only avoid duplicate work;
//! correctness does not depend on them.

use crate::disk;
use crate::error::ResultsError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Time without a refresh after which a claim of another host is taken over.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(120);

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

    /// Whether the process has ended. `None` if it runs under another boot or pid namespace than
    /// `here`, so that this cannot be determined.
    fn gone(&self, here: &Owner) -> Option<bool> {
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

/// The result of claiming a run.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The run is claimed until this claim is dropped.
    Acquired(Claim),
    /// Another process holds the claim.
    HeldBy(Owner),
}

/// A claim that this process holds; released when dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    owner: Owner,
}

impl Claim {
    /// Claims the run in `folder`, which must exist.
    pub(crate) fn take(folder: &Path, owner: &Owner) -> Result<ClaimOutcome, ResultsError> {
        let path = folder.join("claim");
        // Reading an existing claim is one operation; a failed attempt to create one is four
        // (create, write, link, remove), and many processes claim the same runs.
        if let Some(who) = Claim::holder(folder, owner)? {
            return Ok(ClaimOutcome::HeldBy(who));
        }
        // Each iteration takes the claim, finds a live owner or removes a stale claim. After three
        // iterations without success, other processes are claiming the same run.
        for _ in 0..3 {
            if create(&path, owner)? {
                return Ok(ClaimOutcome::Acquired(Claim { path, owner: owner.clone() }));
            }
            match holder(&path, owner)? {
                ClaimState::Alive(who) => return Ok(ClaimOutcome::HeldBy(who)),
                ClaimState::None => continue,
                ClaimState::Stale(bytes) => remove_stale(&path, owner, &bytes)?,
            }
        }
        Ok(match holder(&path, owner)? {
            ClaimState::Alive(who) => ClaimOutcome::HeldBy(who),
            _ => ClaimOutcome::HeldBy(Owner { host: "another host".into(), ..owner.clone() }),
        })
    }

    /// The owner of the claim in `folder`, if it is alive as far as `here` can tell.
    pub(crate) fn holder(folder: &Path, here: &Owner) -> Result<Option<Owner>, ResultsError> {
        Ok(match holder(&folder.join("claim"), here)? {
            ClaimState::Alive(who) => Some(who),
            ClaimState::None | ClaimState::Stale(_) => None,
        })
    }

    /// Updates the claim's modification time, so that other hosts do not consider it stale.
    pub(crate) fn refresh(path: &Path) {
        // Errors are ignored: a lost claim costs only duplicate work.
        if let Ok(file) = OpenOptions::new().write(true).open(path) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Removes the file only if this claim is still in it: if this process was paused, another
        // may have taken the run over.
        if let Ok(Some(bytes)) = disk::read(&self.path)
            && serde_json::from_slice::<Owner>(&bytes).is_ok_and(|who| who == self.owner)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes the claim to a temporary file and hard-links that to `path`, so that no reader sees a
/// partial claim. Returns `false` if a claim exists.
fn create(path: &Path, owner: &Owner) -> Result<bool, ResultsError> {
    let sibling = path.with_file_name(format!("claim.{}.new", owner.tag()));
    let fail = |what| {
        let path = sibling.clone();
        move |source| ResultsError::from_io(what, &path, None, source)
    };
    let bytes = serde_json::to_vec(owner)
        .map_err(|source| ResultsError::Unwritable { what: "a claim", source })?;
    let mut file = File::create(&sibling).map_err(fail("create"))?;
    file.write_all(&bytes).map_err(fail("write"))?;
    let linked = fs::hard_link(&sibling, path);
    let _ = fs::remove_file(&sibling);
    match linked {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source)
            if matches!(source.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) =>
        {
            Err(ResultsError::NoLinks { path: path.to_path_buf(), source })
        }
        Err(source) => Err(ResultsError::from_io("link", path, None, source)),
    }
}

enum ClaimState {
    None,
    Alive(Owner),
    /// Contents of the claim file, with which `remove_stale` detects a change.
    Stale(Vec<u8>),
}

fn holder(path: &Path, here: &Owner) -> Result<ClaimState, ResultsError> {
    let Some(bytes) = disk::read(path)? else { return Ok(ClaimState::None) };
    let who: Option<Owner> = serde_json::from_slice(&bytes).ok();
    let old = || {
        fs::metadata(path)
            .and_then(|m| m.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|a| a > STALE_AFTER))
    };
    let dead = match &who {
        Some(who) => who.gone(here).unwrap_or_else(old),
        None => old(),
    };
    Ok(match (dead, who) {
        (true, _) => ClaimState::Stale(bytes),
        (false, Some(who)) => ClaimState::Alive(who),
        (false, None) => {
            ClaimState::Alive(Owner { host: "an unknown host".into(), ..here.clone() })
        }
    })
}

/// Removes a stale claim with the contents `seen`; restores the claim if its contents changed since
/// they were read.
fn remove_stale(path: &Path, owner: &Owner, seen: &[u8]) -> Result<(), ResultsError> {
    let aside = path.with_file_name(format!("claim.{}.dead", owner.tag()));
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ResultsError::from_io("rename", path, None, source)),
    }
    if disk::read(&aside)?.as_deref() != Some(seen) {
        let _ = fs::hard_link(&aside, path);
    }
    let _ = fs::remove_file(&aside);
    Ok(())
}
