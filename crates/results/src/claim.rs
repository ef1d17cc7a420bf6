//! Claims: files that record which process works on a run. They only avoid duplicate work;
//! correctness does not depend on them.

use crate::disk;
use crate::error::ResultsError;
use crate::owner::Owner;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Time without a refresh after which a claim of another host is taken over.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(120);

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
    /// Claims the run in `folder`, which must exist. `owner_file`: a file with the owner's
    /// identity, to which the claim is linked where that is possible.
    pub(crate) fn take(
        folder: &Path,
        owner: &Owner,
        owner_file: Option<&Path>,
    ) -> Result<ClaimOutcome, ResultsError> {
        let path = folder.join("claim");
        // Reading an existing claim is one operation; a failed attempt to create one is four
        // (create, write, link, remove), and many processes claim the same runs.
        if let Some(who) = Claim::holder(folder, owner)? {
            return Ok(ClaimOutcome::HeldBy(who));
        }
        // Each iteration takes the claim, finds a live owner or removes a stale claim. After three
        // iterations without success, other processes are claiming the same run.
        for _ in 0..3 {
            if create(&path, owner, owner_file)? {
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

/// Hard-links the owner's file, or else a temporary file, to `path`, so that no reader sees a
/// partial claim. Returns `false` if a claim exists.
fn create(path: &Path, owner: &Owner, owner_file: Option<&Path>) -> Result<bool, ResultsError> {
    match owner_file.map(|file| fs::hard_link(file, path)) {
        Some(Ok(())) => return Ok(true),
        Some(Err(source)) if source.kind() == ErrorKind::AlreadyExists => return Ok(false),
        // Not every file system links across folders, and another process may have removed the file
        // if this one was paused.
        Some(Err(_)) | None => {}
    }
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

/// Whether the process that the claim or owner's file at `path` names has ended or has not
/// refreshed it.
pub(crate) fn is_stale(path: &Path, here: &Owner) -> bool {
    matches!(holder(path, here), Ok(ClaimState::Stale(_)))
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
