//! Finds a model in the caches, or downloads it.

use crate::failure::Failure;
use checkpoint::{Checkpoint, SearchPaths};
use error_kind::{ErrorKind, HasKind};
use fetch::{FetchRequest, FetchSource, Hub};
use std::path::PathBuf;
use watch::{Stage, Watch};

/// Finds a model in the caches; downloads it if it is in none of them.
///
/// # Errors
/// `NotFound` if the model is not in a cache and its name is not a hub name; `Io` if it may be in a
/// cache that cannot be searched; otherwise a [`fetch::FetchError`] or the `Usage` error of
/// [`download`].
pub fn find_or_fetch(model: &str, search: &SearchPaths, watch: &Watch) -> Result<PathBuf, Failure> {
    match checkpoint::locate(model, search) {
        Ok(path) => Ok(path),
        Err(error)
            if error.kind() != ErrorKind::NotFound || !is_hub_name(checkpoint::hub_name(model)) =>
        {
            Err(error.into())
        }
        Err(_) => {
            watch.note(format!("{model} is not in a cache: downloading it"));
            download(model, FetchSource::Auto, None, search, watch)
        }
    }
}

/// The path of a model in a cache, if its headers are valid; `None` if the model is missing or
/// incomplete.
///
/// # Errors
/// `Io` if it may be in a cache that cannot be searched or read: downloading it again would not
/// help.
pub fn find_complete(
    model: &str,
    search: &SearchPaths,
    watch: &Watch,
) -> Result<Option<PathBuf>, Failure> {
    let path = match checkpoint::locate(model, search) {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    match Checkpoint::open(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::Io => Err(error.into()),
        Err(error) => {
            watch.note(format!("{} is incomplete: {error}", path.display()));
            Ok(None)
        }
    }
}

/// Downloads a model. `file` selects a GGUF file of a repository that has several.
///
/// # Errors
/// A [`fetch::FetchError`]; `Usage` if the name is not a hub name or there is no cache folder.
pub fn download(
    model: &str,
    source: FetchSource,
    file: Option<&str>,
    search: &SearchPaths,
    watch: &Watch,
) -> Result<PathBuf, Failure> {
    let name = checkpoint::hub_name(model);
    if !is_hub_name(name) {
        return Err(Failure::usage(format!(
            "fetch: expected a hub name (org/name) or an alias, found {model}"
        )));
    }
    let no_cache =
        || Failure::usage("fetch: expected a cache folder, found none. Set HF_HOME or HOME");
    let hub_cache = search.hub_caches.first().map(PathBuf::as_path);
    let models = search.fetch_into().or(hub_cache).ok_or_else(no_cache)?;
    let hub_cache = hub_cache.unwrap_or(models);
    let (name, revision) =
        name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)));
    let _stage = watch.enter(Stage::Fetch);
    let hub = Hub::from_env();
    Ok(fetch::fetch(
        &FetchRequest { model: name, revision, source, hub: &hub, file, hub_cache, models },
        watch,
    )?)
}

fn is_hub_name(name: &str) -> bool {
    let is_plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(allowed) && part != "." && part != ".."
    };
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    name.split_once('/').is_some_and(|(org, model)| is_plain(org) && is_plain(model))
        && is_plain(revision)
}
