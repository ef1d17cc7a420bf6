//! Finds a model on disk by path, hub name, `org--name` folder or alias. Does not use the network.
mod aliases;
mod hub;
mod paths;
mod place;

use crate::error::CheckpointError;
pub use aliases::{ALIASES, hub_name, resolve_alias};
use hub::NoSnapshot;
pub use paths::SearchPaths;
use paths::WORKING_FOLDER;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Finds a model: returns the folder or `.gguf` file for
/// [`Checkpoint::open`](crate::Checkpoint::open).
///
/// `model` is a path, a hub name (`org/name`, optionally with `@revision`), or an alias.
///
/// # Errors
/// `NotFound` with every searched location and what was found there; `NotSearched` if the model is
/// not found, but may be in a location that cannot be searched.
pub fn locate(model: &str, search: &SearchPaths) -> Result<PathBuf, CheckpointError> {
    let mut searched = SearchedPlaces::default();
    let path = Path::new(model);
    let name = hub_name(model);
    let parsed = HubName::parse(name);
    match place::exists(path) {
        Ok(true) if !model.is_empty() => return from_path(path),
        Ok(_) => {}
        // A file with the organization's name says nothing about the model.
        Err(error) if parsed.is_some() && is_below_file(&error) => {}
        Err(error) => searched.block(error),
    }
    searched.tried.push(format!("{model} (no such path)"));
    let found = match parsed {
        Some(hub_name) => find_hub_name(&hub_name, search, &mut searched),
        None => find_plain(name, search, &mut searched),
    };
    match (found, searched.blocked) {
        (Some(path), _) => Ok(path),
        (None, Some(error)) => Err(error),
        (None, None) => Err(CheckpointError::NotFound {
            what: match name == model {
                true => format!("model {model:?}"),
                false => format!("model {model:?} ({name})"),
            },
            looked_in: searched.tried,
            remedy: format!(
                "Run `vendomini fetch {model}` where there is a network, or give the path of a folder or .gguf file"
            ),
        }),
    }
}

/// The locations that were searched in vain.
#[derive(Default)]
struct SearchedPlaces {
    /// Each location with what was found there.
    tried: Vec<String>,
    /// The error of the first location that could not be searched.
    blocked: Option<CheckpointError>,
}

impl SearchedPlaces {
    fn note(&mut self, place: &Path, why: &str) {
        self.tried.push(format!("{} ({why})", place.display()));
    }

    fn block(&mut self, error: CheckpointError) {
        self.blocked.get_or_insert(error);
    }
}

/// A parsed hub name.
pub(crate) struct HubName<'a> {
    pub org: &'a str,
    pub name: &'a str,
    pub revision: Option<&'a str>,
}

impl<'a> HubName<'a> {
    /// Parses `org/name` or `org/name@revision`; `None` for any other text.
    fn parse(text: &'a str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let (org, name) = name.split_once('/')?;
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(allowed) && part != "." && part != ".."
        };
        (plain(org) && plain(name) && revision.is_none_or(plain)).then_some(HubName {
            org,
            name,
            revision,
        })
    }
}

/// Resolves an existing path. For a hub cache's `models--org--name` folder, the result is its
/// snapshot.
fn from_path(path: &Path) -> Result<PathBuf, CheckpointError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| CheckpointError::io(path, "read its metadata", 0, source))?;
    let is_repository = metadata.is_dir()
        && place::metadata(&path.join("snapshots"))?.is_some_and(|m| m.is_dir())
        && place::metadata(&path.join("config.json"))?.is_none();
    if !is_repository {
        return Ok(path.to_owned());
    }
    hub::snapshot(path, None).map_err(|why| match why {
        NoSnapshot::NotSearched(error) => error,
        NoSnapshot::Absent(why) => CheckpointError::NotFound {
            what: format!("a snapshot of the model in {}", path.display()),
            looked_in: vec![format!("{} ({why})", path.join("snapshots").display())],
            remedy: "Run `vendomini fetch` for the model again".to_owned(),
        },
    })
}

/// Searches model folders and hub caches for a hub name.
fn find_hub_name(
    hub_name: &HubName,
    search: &SearchPaths,
    searched: &mut SearchedPlaces,
) -> Option<PathBuf> {
    let flat = format!("{}--{}", hub_name.org, hub_name.name);
    let folders = search
        .model_folders
        .iter()
        .flat_map(|cache| [cache.join(&flat), cache.join(hub_name.org).join(hub_name.name)]);
    if hub_name.revision.is_none()
        && let Some(found) = first_model(folders, searched)
    {
        return Some(found);
    }
    for hub in search.hub_caches.iter().chain(&search.model_folders) {
        let repository = hub.join(format!("models--{flat}"));
        match hub::snapshot(&repository, hub_name.revision) {
            Ok(found) => return Some(found),
            Err(NoSnapshot::Absent(why)) => searched.note(&repository, &why),
            Err(NoSnapshot::NotSearched(error)) => searched.block(error),
        }
    }
    if hub_name.revision.is_some() {
        return None;
    }
    first_model(search.hub_caches.iter().map(|hub| hub.join(&flat)), searched)
}

/// Searches the model folders for a folder or GGUF file with a name that is not a hub name.
fn find_plain(name: &str, search: &SearchPaths, searched: &mut SearchedPlaces) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return None;
    }
    let candidates = search
        .model_folders
        .iter()
        .flat_map(|cache| [cache.join(name), cache.join(format!("{name}.gguf"))]);
    for candidate in candidates {
        match place::metadata(&candidate) {
            Ok(Some(metadata)) if metadata.is_file() => return Some(candidate),
            Ok(_) => {}
            Err(error) => {
                searched.block(error);
                continue;
            }
        }
        if let Some(found) = first_model([candidate].into_iter(), searched) {
            return Some(found);
        }
    }
    None
}

fn first_model(
    folders: impl Iterator<Item = PathBuf>,
    searched: &mut SearchedPlaces,
) -> Option<PathBuf> {
    for folder in folders {
        match contents(&folder) {
            Ok(FolderContents::Model) => return Some(folder),
            Ok(FolderContents::NoModel) => searched.note(&folder, "holds no model"),
            Ok(FolderContents::Absent) => searched.note(&folder, "absent"),
            // A file in the working folder that has the organization's name.
            Err(error) if folder.starts_with(WORKING_FOLDER) && is_below_file(&error) => {
                searched.note(&folder, "absent");
            }
            Err(error) => searched.block(error),
        }
    }
    None
}

/// What a folder contains.
enum FolderContents {
    /// A `config.json` or a GGUF file, valid or not.
    Model,
    NoModel,
    Absent,
}

fn contents(folder: &Path) -> Result<FolderContents, CheckpointError> {
    match place::metadata(folder)? {
        None => return Ok(FolderContents::Absent),
        Some(metadata) if !metadata.is_dir() => return Ok(FolderContents::NoModel),
        Some(_) => {}
    }
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|e| e == "gguf");
    let is_model =
        place::exists(&folder.join("config.json"))? || place::entries(folder)?.iter().any(is_gguf);
    Ok(if is_model { FolderContents::Model } else { FolderContents::NoModel })
}

/// Whether an error says that a part of a path is a file and not a folder.
fn is_below_file(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::NotSearched { source, .. } => source.kind() == ErrorKind::NotADirectory,
        _ => false,
    }
}
