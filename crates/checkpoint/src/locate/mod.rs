//! Finds a model on disk by path, hub name, `org--name` folder or alias. Does not use the network.
mod aliases;
mod hub;
mod paths;

use crate::error::CheckpointError;
pub use aliases::{ALIASES, hub_name, resolve_alias};
pub use paths::SearchPaths;
use std::path::{Path, PathBuf};

/// Finds a model: returns the folder or `.gguf` file for
/// [`Checkpoint::open`](crate::Checkpoint::open).
///
/// `model` is a path, a hub name (`org/name`, optionally with `@revision`), or an alias.
///
/// # Errors
/// `NotFound` with every searched location and what was found there.
pub fn locate(model: &str, search: &SearchPaths) -> Result<PathBuf, CheckpointError> {
    let mut tried = Vec::new();
    let path = Path::new(model);
    if !model.is_empty() && std::fs::symlink_metadata(path).is_ok() {
        return from_path(path);
    }
    tried.push(format!("{model} (no such path)"));
    let name = hub_name(model);
    let found = match HubName::parse(name) {
        Some(hub_name) => find_hub_name(&hub_name, search, &mut tried),
        None => find_plain(name, search, &mut tried),
    };
    found.ok_or_else(|| CheckpointError::NotFound {
        what: if name == model { format!("model {model:?}") } else { format!("model {model:?} ({name})") },
        looked_in: tried,
        remedy: format!(
            "Run `vendomini fetch {model}` where there is a network, or give the path of a folder or .gguf file"
        ),
    })
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
    if metadata.is_dir() && path.join("snapshots").is_dir() && !path.join("config.json").exists() {
        return hub::snapshot(path, None).map_err(|why| CheckpointError::NotFound {
            what: format!("a snapshot of the model in {}", path.display()),
            looked_in: vec![format!("{} ({why})", path.join("snapshots").display())],
            remedy: "Run `vendomini fetch` for the model again".to_owned(),
        });
    }
    Ok(path.to_owned())
}

/// Searches model folders and hub caches for a hub name.
fn find_hub_name(
    hub_name: &HubName,
    search: &SearchPaths,
    tried: &mut Vec<String>,
) -> Option<PathBuf> {
    let flat = format!("{}--{}", hub_name.org, hub_name.name);
    let folders = search
        .model_folders
        .iter()
        .flat_map(|cache| [cache.join(&flat), cache.join(hub_name.org).join(hub_name.name)]);
    if hub_name.revision.is_none()
        && let Some(found) = first_model(folders, tried)
    {
        return Some(found);
    }
    for hub in search.hub_caches.iter().chain(&search.model_folders) {
        let repository = hub.join(format!("models--{flat}"));
        match hub::snapshot(&repository, hub_name.revision) {
            Ok(found) => return Some(found),
            Err(why) => tried.push(format!("{} ({why})", repository.display())),
        }
    }
    if hub_name.revision.is_some() {
        return None;
    }
    first_model(search.hub_caches.iter().map(|hub| hub.join(&flat)), tried)
}

/// Searches the model folders for a folder or GGUF file with a name that is not a hub name.
fn find_plain(name: &str, search: &SearchPaths, tried: &mut Vec<String>) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return None;
    }
    for cache in &search.model_folders {
        for candidate in [cache.join(name), cache.join(format!("{name}.gguf"))] {
            match std::fs::metadata(&candidate) {
                Ok(metadata) if metadata.is_file() || holds_model(&candidate) => {
                    return Some(candidate);
                }
                Ok(_) => tried.push(format!("{} (holds no model)", candidate.display())),
                Err(_) => tried.push(format!("{} (absent)", candidate.display())),
            }
        }
    }
    None
}

fn first_model(folders: impl Iterator<Item = PathBuf>, tried: &mut Vec<String>) -> Option<PathBuf> {
    for folder in folders {
        if holds_model(&folder) {
            return Some(folder);
        }
        let why = if folder.is_dir() { "holds no model" } else { "absent" };
        tried.push(format!("{} ({why})", folder.display()));
    }
    None
}

/// Whether a folder contains a `config.json` or a GGUF file, valid or not.
fn holds_model(folder: &Path) -> bool {
    let config = std::fs::symlink_metadata(folder.join("config.json")).is_ok();
    config || crate::gguf::files_in(folder).is_ok_and(|files| !files.is_empty())
}
