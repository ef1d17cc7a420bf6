//! Who works on a run. A claim saves work; correctness never rests on it.

use crate::{ResultsError, disk};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A claim of another host that nobody refreshed for so long is taken over.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(120);

/// A process, told apart from all others even when its pid is used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// The boot and the pid namespace: only within both does a pid mean anything.
    pub world: String,
    /// Process id.
    pub pid: u32,
    /// Ticks since boot at which the process began.
    pub started_ticks: u64,
    /// Tells several stores of one process apart.
    pub store: u64,
}

impl Owner {
    /// This process.
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

    /// Words for a file name: unique among processes that could meet.
    pub(crate) fn tag(&self) -> String {
        format!("{}-{}-{}", self.pid, self.started_ticks, self.store)
    }

    /// Whether the process is certainly gone; `None` where that cannot be seen from `here`.
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

/// Field 22 of /proc/<pid>/stat, counted after the command name, which may hold anything. A zombie
/// counts as gone.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What came of asking for a run.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// It is ours until the claim is dropped.
    Acquired(Claim),
    /// Another process works on it.
    HeldBy(Owner),
}

/// A run that is ours; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    owner: Owner,
}

impl Claim {
    /// Asks for the run in `folder`, which must exist.
    pub(crate) fn take(folder: &Path, owner: &Owner) -> Result<ClaimOutcome, ResultsError> {
        let path = folder.join("claim");
        // A look costs one read; asking in vain costs four changes to the folder, and many
        // processes ask for the same runs.
        if let Some(who) = Claim::holder(folder, owner)? {
            return Ok(ClaimOutcome::HeldBy(who));
        }
        // Each turn either takes the claim or removes a dead one; a third turn means that others
        // are doing the same.
        for _ in 0..3 {
            if create(&path, owner)? {
                return Ok(ClaimOutcome::Acquired(Claim { path, owner: owner.clone() }));
            }
            match holder(&path, owner)? {
                ClaimState::Alive(who) => return Ok(ClaimOutcome::HeldBy(who)),
                ClaimState::None => continue,
                ClaimState::Dead(words) => bury(&path, owner, &words)?,
            }
        }
        Ok(match holder(&path, owner)? {
            ClaimState::Alive(who) => ClaimOutcome::HeldBy(who),
            _ => ClaimOutcome::HeldBy(Owner { host: "another host".into(), ..owner.clone() }),
        })
    }

    /// Who works on the run in `folder`, as far as can be seen from `here`.
    pub(crate) fn holder(folder: &Path, here: &Owner) -> Result<Option<Owner>, ResultsError> {
        Ok(match holder(&folder.join("claim"), here)? {
            ClaimState::Alive(who) => Some(who),
            ClaimState::None | ClaimState::Dead(_) => None,
        })
    }

    /// Says "still here" to other hosts.
    pub(crate) fn refresh(path: &Path) {
        // A lost claim costs double work at most, so a failure here is not worth ending a run for.
        if let Ok(file) = OpenOptions::new().write(true).open(path) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// The claim's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Only our own: after a pause somebody else may hold it.
        if let Ok(Some(bytes)) = disk::read(&self.path)
            && serde_json::from_slice::<Owner>(&bytes).is_ok_and(|who| who == self.owner)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Links a written claim into place, so that nobody ever reads half of one.
fn create(path: &Path, owner: &Owner) -> Result<bool, ResultsError> {
    let beside = path.with_file_name(format!("claim.{}.new", owner.tag()));
    let fail = |what| {
        let path = beside.clone();
        move |source| ResultsError::from_io(what, &path, None, source)
    };
    let words = serde_json::to_vec(owner)
        .map_err(|source| ResultsError::Unwritable { what: "a claim", source })?;
    let mut file = File::create(&beside).map_err(fail("create"))?;
    file.write_all(&words).map_err(fail("write"))?;
    let linked = fs::hard_link(&beside, path);
    let _ = fs::remove_file(&beside);
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
    Dead(Vec<u8>),
}

fn holder(path: &Path, here: &Owner) -> Result<ClaimState, ResultsError> {
    let Some(words) = disk::read(path)? else { return Ok(ClaimState::None) };
    let who: Option<Owner> = serde_json::from_slice(&words).ok();
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
        (true, _) => ClaimState::Dead(words),
        (false, Some(who)) => ClaimState::Alive(who),
        (false, None) => {
            ClaimState::Alive(Owner { host: "an unknown host".into(), ..here.clone() })
        }
    })
}

/// Removes a dead claim, unless it is no longer the one that was seen dead: then it is put back.
fn bury(path: &Path, owner: &Owner, seen: &[u8]) -> Result<(), ResultsError> {
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
