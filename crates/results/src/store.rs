//! An experiment's folder: opens or creates it, checks its configuration and models, and claims
//! runs.

use crate::claim::{Claim, ClaimOutcome};
use crate::disk;
use crate::error::{ConfigDifference, ResultsError};
use crate::experiment_record::{ExperimentRecord, ModelRecord};
use crate::owner::Owner;
use crate::owner_file::OwnerFile;
use crate::run_folder::RunFolder;
use base::unpoisoned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

/// An experiment's folder, opened for reading, or by [`Store::create`] also for running
/// experiments; the claims of such a store are refreshed.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    record: ExperimentRecord,
    owner: Owner,
    owner_file: Option<OwnerFile>,
    heartbeat: Option<ClaimHeartbeat>,
}

impl Store {
    /// Opens or creates the folder for `record`. If the folder has another configuration, the error
    /// lists the keys that differ.
    pub fn create(root: &Path, record: &ExperimentRecord) -> Result<Store, ResultsError> {
        disk::make_folder(root)?;
        let owner = Owner::here();
        let path = root.join("experiment.json");
        if !path.exists() {
            disk::link_document(&path, &owner.tag(), record)?;
        }
        let stored = read_experiment(root)?;
        let differences = differences(&stored.configuration, &record.configuration);
        if !differences.is_empty() {
            return Err(ResultsError::OtherConfiguration { root: root.to_path_buf(), differences });
        }
        let (owner_file, heartbeat) = (OwnerFile::create(root, &owner), ClaimHeartbeat::start());
        owner_file.iter().for_each(|file| heartbeat.refresh(file.path()));
        Ok(Store {
            root: root.to_path_buf(),
            record: stored,
            owner,
            owner_file,
            heartbeat: Some(heartbeat),
        })
    }

    /// Opens an existing folder for reading.
    pub fn open(root: &Path) -> Result<Store, ResultsError> {
        Ok(Store {
            root: root.to_path_buf(),
            record: read_experiment(root)?,
            owner: Owner::here(),
            owner_file: None,
            heartbeat: None,
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn experiment(&self) -> &ExperimentRecord {
        &self.record
    }

    /// The record of the model of this name; `None` if the model was not used yet.
    pub fn model(&self, name: &str) -> Result<Option<ModelRecord>, ResultsError> {
        disk::read_document(&self.model_path(name))
    }

    /// Records `model` if its name is new, otherwise checks it against the recorded one. Returns
    /// the kernel set with which rows must be marked: `Some` only if it differs from the recorded
    /// one and `accept_mixed` is set.
    pub fn admit_model(
        &self,
        model: &ModelRecord,
        accept_mixed: bool,
    ) -> Result<Option<String>, ResultsError> {
        let path = self.model_path(&model.name);
        disk::make_folder(&self.root.join("models"))?;
        if !path.exists() {
            disk::link_document(&path, &self.owner.tag(), model)?;
        }
        let stored: ModelRecord = disk::read_document(&path)?
            .ok_or(ResultsError::NotAnExperiment { path: self.root.clone() })?;
        let other = |what, stored: &str, given: &str| ResultsError::OtherModel {
            root: self.root.clone(),
            model: model.name.clone(),
            what,
            stored: stored.to_string(),
            given: given.to_string(),
        };
        if stored.identity != model.identity {
            return Err(other("weights", &stored.identity, &model.identity));
        }
        if stored.dtype != model.dtype {
            return Err(other("dtype", &stored.dtype, &model.dtype));
        }
        match stored.kernel_set == model.kernel_set {
            true => Ok(None),
            false if accept_mixed => Ok(Some(model.kernel_set.clone())),
            false => Err(other("kernel set", &stored.kernel_set, &model.kernel_set)),
        }
    }

    fn model_path(&self, name: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        self.root
            .join("models")
            .join(format!("{}.json", name.replace('/', "--").chars().map(safe).collect::<String>()))
    }

    /// The folder of a run.
    pub fn run(&self, run_id: &str) -> RunFolder {
        let fan = run_id.get(..2).unwrap_or("xx");
        RunFolder::at(self.root.join("runs").join(fan).join(run_id))
    }

    /// Claims a run; an acquired claim is refreshed until it is dropped.
    pub fn claim(&self, run_id: &str) -> Result<ClaimOutcome, ResultsError> {
        let owner_file = self.owner_file.as_ref().map(OwnerFile::path);
        let outcome = self.run(run_id).claim(&self.owner, owner_file)?;
        if let (ClaimOutcome::Acquired(claim), Some(heartbeat)) = (&outcome, &self.heartbeat) {
            heartbeat.refresh(claim.path());
        }
        Ok(outcome)
    }

    /// Folders of all runs on disk, in the order of their ids.
    pub fn runs(&self) -> Result<Vec<RunFolder>, ResultsError> {
        let top = self.root.join("runs");
        let mut folders = Vec::new();
        for fan in disk::names(&top)? {
            let fan = top.join(fan);
            folders.extend(disk::names(&fan)?.into_iter().map(|id| RunFolder::at(fan.join(id))));
        }
        Ok(folders)
    }
}

fn read_experiment(root: &Path) -> Result<ExperimentRecord, ResultsError> {
    disk::read_document(&root.join("experiment.json"))?
        .ok_or_else(|| ResultsError::NotAnExperiment { path: root.to_path_buf() })
}

fn differences(
    stored: &BTreeMap<String, Value>,
    given: &BTreeMap<String, Value>,
) -> Vec<ConfigDifference> {
    let keys: BTreeSet<&String> = stored.keys().chain(given.keys()).collect();
    let difference = |key: &String| ConfigDifference {
        key: key.clone(),
        stored: stored.get(key).cloned(),
        given: given.get(key).cloned(),
    };
    // Values are compared as JSON text: 1 and 1.0 have different hashes, so they are different
    // experiments.
    let text = |map: &BTreeMap<String, Value>, key: &String| map.get(key).map(Value::to_string);
    keys.into_iter().filter(|key| text(stored, key) != text(given, key)).map(difference).collect()
}

/// A thread that updates the modification times of this process's claims, so that other hosts do
/// not consider them stale.
#[derive(Debug)]
struct ClaimHeartbeat {
    shared: Arc<(Mutex<HeartbeatState>, Condvar)>,
}

#[derive(Debug, Default)]
struct HeartbeatState {
    claims: BTreeSet<PathBuf>,
    stop: bool,
}

impl ClaimHeartbeat {
    fn start() -> ClaimHeartbeat {
        let shared: Arc<(Mutex<HeartbeatState>, Condvar)> = Arc::default();
        let of_thread = shared.clone();
        // Without the thread, other hosts consider the claims stale, which costs only duplicate
        // work.
        let _ = std::thread::Builder::new()
            .name("claims".into())
            .spawn(move || refresh_claims(&of_thread));
        ClaimHeartbeat { shared }
    }

    fn refresh(&self, path: &Path) {
        unpoisoned(self.shared.0.lock()).claims.insert(path.to_path_buf());
    }
}

fn refresh_claims(shared: &(Mutex<HeartbeatState>, Condvar)) {
    let mut state = unpoisoned(shared.0.lock());
    while !state.stop {
        let waited = shared.1.wait_timeout(state, REFRESH_INTERVAL);
        state = unpoisoned(waited).0;
        state.claims.retain(|path| path.exists());
        state.claims.iter().for_each(|path| Claim::refresh(path));
    }
}

impl Drop for ClaimHeartbeat {
    fn drop(&mut self) {
        unpoisoned(self.shared.0.lock()).stop = true;
        self.shared.1.notify_all();
    }
}
