//! Staging of a model on the node's local disk: whether to, where, and what it gains.

mod advice;
mod choice;
mod local_disk;

pub use advice::{StagingAdvice, advice};
pub use choice::StageChoice;

use crate::failure::Failure;
use checkpoint::Checkpoint;
use error_kind::ErrorKind;
use local_disk::LocalDisk;
use staging::{StagedCheckpoint, StagingError, is_staged};
use std::path::{Path, PathBuf};
use std::time::Duration;
use watch::Watch;

/// Opens the staged copy of an opened checkpoint, which is made first if the choice says so and it
/// is not there. Otherwise returns the checkpoint itself; a note says why.
///
/// `stall_timeout_s`: the time without progress after which the command is ended. A task that waits
/// for the copy of another gives up before that.
///
/// # Errors
/// `Usage` for a folder that does not exist; `BadInput` if the checkpoint was changed in the
/// meantime, or a file of the hub's cache is damaged; `Interrupted`.
pub fn staged_or_source(
    choice: &StageChoice,
    stall_timeout_s: f64,
    source: Checkpoint,
    watch: &Watch,
) -> Result<(Checkpoint, Option<StagedCheckpoint>), Failure> {
    let disk = match disk_for(choice, &source, watch) {
        Ok(Some(disk)) => disk,
        Ok(None) => return Ok((source, None)),
        Err(NotStaged::Failed(failure)) => return Err(failure),
        Err(NotStaged::Because(why)) => {
            watch.note(format!("not staged: {why}. The model is loaded from where it is"));
            return Ok((source, None));
        }
    };
    match copy(&source, &disk, stall_timeout_s, watch) {
        Ok((checkpoint, staged)) => Ok((checkpoint, Some(staged))),
        Err(CopyError::Staging(error)) if error.leaves_source() => {
            watch.note(format!(
                "warning: not staged: {error}. The model is loaded from {}",
                source.root.display()
            ));
            Ok((source, None))
        }
        Err(error) => Err(error.into()),
    }
}

/// Why a model is not staged.
enum NotStaged {
    /// It can be loaded from where it is.
    Because(String),
    /// The command fails.
    Failed(Failure),
}

/// Why there is no copy that can be opened.
#[derive(Debug)]
enum CopyError {
    Staging(StagingError),
    /// The copy is not one of the checkpoint.
    Copy(Failure),
}

impl From<StagingError> for CopyError {
    fn from(error: StagingError) -> Self {
        CopyError::Staging(error)
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Staging(error) => error.into(),
            CopyError::Copy(failure) => failure,
        }
    }
}

/// The folder on a local disk to stage on; `None` if there is nothing to say about it.
fn disk_for(
    choice: &StageChoice,
    source: &Checkpoint,
    watch: &Watch,
) -> Result<Option<PathBuf>, NotStaged> {
    let because = |why: String| Err(NotStaged::Because(why));
    let shard = largest_shard(source);
    let auto = matches!(choice, StageChoice::Auto);
    let must_exist = matches!(choice, StageChoice::Folder { must_exist: true, .. });
    let folder = match choice {
        StageChoice::Off => return Ok(None),
        StageChoice::Folder { path, .. } => path.clone(),
        StageChoice::Auto if !local_disk::is_network(shard) => {
            watch.verbose("not staged: the model is not on a network file system");
            return Ok(None);
        }
        StageChoice::Auto => match local_disk::known() {
            Some(folder) => folder,
            None => return because(local_disk::UNKNOWN.to_owned()),
        },
    };
    let disk = match LocalDisk::at(&folder) {
        Ok(disk) => disk,
        Err(failure) if must_exist => return Err(NotStaged::Failed(failure)),
        Err(failure) => return because(failure.text),
    };
    if let Some(why) = disk.unfit(shard) {
        return because(why);
    }
    if auto && let Some(why) = disk.unfit_for_auto() {
        return because(why);
    }
    if disk.in_memory() {
        let text = "is in memory: the copy counts as memory of this job";
        watch.note(format!("warning: --stage {}: {} {text}", folder.display(), disk.file_system));
    }
    if auto && !is_staged(source, &folder) {
        let rates = local_disk::rate_of(shard).zip(disk.measure());
        if let Some((there, here)) = rates.filter(|(there, here)| there >= here) {
            let gb = |rate: u64| format!("{:.2} GB/s", rate as f64 / 1e9);
            let (there, here) = (gb(there), gb(here));
            return because(format!(
                "reads of the model at {there} are not slower than of {} at {here}",
                folder.display()
            ));
        }
    }
    Ok(Some(disk.folder))
}

/// A folder on a local disk that the user or Slurm names.
#[derive(Debug)]
pub struct StagedPlace(PathBuf);

impl StagedPlace {
    /// The typed folder, else that of `VENDOMINI_STAGE`, `SLURM_TMPDIR` or `TMPDIR`.
    ///
    /// # Errors
    /// `Usage` if there is none, `NotFound` if it does not exist.
    pub fn of(typed: Option<&Path>) -> Result<StagedPlace, Failure> {
        let named = match (typed, StageChoice::of(None)?) {
            (Some(folder), _) => Some(folder.to_owned()),
            (None, StageChoice::Folder { path, .. }) => Some(path),
            (None, _) => local_disk::known(),
        };
        let folder = named.ok_or_else(|| {
            Failure::usage(
                "stage: expected a folder on a local disk in --to, $SLURM_TMPDIR or $TMPDIR, found none",
            )
        })?;
        Ok(StagedPlace(LocalDisk::at(&folder)?.folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }
}

/// Copies a model to a local disk, if it is not there, and opens the copy.
///
/// # Errors
/// `Usage` if the disk is not a local one or has the model already, and those of
/// [`staging::stage`].
pub fn stage_at(
    place: &StagedPlace,
    source: &Checkpoint,
    watch: &Watch,
) -> Result<(Checkpoint, StagedCheckpoint), Failure> {
    if let Some(why) = LocalDisk::at(&place.0)?.unfit(largest_shard(source)) {
        return Err(Failure::usage(format!("stage: {why}. Name another folder with --to")));
    }
    let stall_timeout_s = watch::WatchLimits::default().stall_timeout_s;
    Ok(copy(source, &place.0, stall_timeout_s, watch)?)
}

fn copy(
    source: &Checkpoint,
    disk: &Path,
    stall_timeout_s: f64,
    watch: &Watch,
) -> Result<(Checkpoint, StagedCheckpoint), CopyError> {
    let patience = Duration::try_from_secs_f64(stall_timeout_s / 2.0).unwrap_or(Duration::MAX);
    let staged = staging::stage(source, disk, patience, watch)?;
    let failed = |error: checkpoint::CheckpointError| CopyError::Copy(error.into());
    let copy = Checkpoint::open(&staged.root).map_err(failed)?;
    // Ids of runs are made from it: a copy must not differ from its source in this.
    if copy.identity().map_err(failed)? != source.identity().map_err(failed)? {
        let text = format!(
            "{}: expected the files that were copied to {}, found others. Run again when nothing \
             writes to the model",
            source.root.display(),
            staged.root.display()
        );
        return Err(CopyError::Copy(Failure::new(ErrorKind::BadInput, text)));
    }
    if staged.changed_files > 0 {
        watch.note(format!(
            "warning: {} files in {} had been changed or removed on the local disk; they were copied again",
            staged.changed_files,
            staged.root.display()
        ));
    }
    Ok((copy, staged))
}

/// The largest shard, whose disk counts as the checkpoint's.
fn largest_shard(checkpoint: &Checkpoint) -> &Path {
    let largest = checkpoint.inventory.shards.iter().max_by_key(|shard| shard.bytes);
    largest.map_or(checkpoint.root.as_path(), |shard| shard.path.as_path())
}
