//! The model hub: lists a repository, selects the files of a model and downloads them.

mod client;
mod download;
mod listing;
mod store;

use crate::error::FetchError;
use crate::request::{FetchRequest, FetchSource};
use base::{on_threads, unpoisoned};
use client::HubClient;
use download::Download;
use listing::RepoFile;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::CachedRepository;
use watch::{Stage, Watch};

/// Parallel downloads: a single stream rarely saturates a fast link, and hubs refuse clients that
/// open many.
const STREAMS_MAX: usize = 4;

/// Fetches a model into the hub client's cache. Returns its snapshot folder, or the path of the
/// GGUF file in that folder.
pub(crate) fn fetch(request: &FetchRequest, watch: &Watch) -> Result<PathBuf, FetchError> {
    if request.source == FetchSource::Auto && request.hub.offline {
        return Err(FetchError::Offline { model: request.model.to_owned() });
    }
    let client = HubClient::new(request.hub);
    watch.note(format!("listing the files of {1} on {0}", client.endpoint(), request.model));
    let listing = client.listing(request.model, request.revision)?;
    let files = listing.select(request.model, request.file)?;
    let repository = CachedRepository::new(request.hub_cache, request.model)?;
    let missing: Vec<&RepoFile> = files.iter().filter(|file| !repository.has(file)).collect();
    repository.check_space(&missing)?;
    watch.total(
        Stage::Fetch,
        missing.iter().map(|file| file.size_bytes).sum(),
        missing.len() as u64,
    );
    download_all(
        &missing,
        &Destination {
            client: &client,
            repository: &repository,
            model: request.model,
            commit: &listing.commit,
        },
        watch,
    )?;
    let snapshot =
        repository.publish(&listing.commit, request.revision.unwrap_or("main"), &files)?;
    Ok(match files.iter().find(|file| file.path.ends_with(".gguf")) {
        Some(gguf) => snapshot.join(&gguf.path),
        None => snapshot,
    })
}

/// The hub, repository and commit to download from, and the cached repository to write to.
struct Destination<'a> {
    client: &'a HubClient,
    repository: &'a CachedRepository,
    model: &'a str,
    commit: &'a str,
}

fn download_all(files: &[&RepoFile], to: &Destination, watch: &Watch) -> Result<(), FetchError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = |stream: usize| {
        let progress = watch.thread(&format!("stream {stream}"));
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let url = to.client.file_url(to.model, to.commit, &file.path);
            let download =
                Download { client: to.client, url: &url, file, progress: &progress, watch };
            let result = download.run(to.repository);
            progress.item_done();
            if let Err(error) = result {
                // The other streams stop before their next file; the first error is returned.
                next.store(files.len(), Ordering::Relaxed);
                unpoisoned(failed.lock()).get_or_insert(error);
            }
        }
    };
    on_threads(STREAMS_MAX.min(files.len()), work);
    unpoisoned(failed.into_inner()).map_or(Ok(()), Err)
}
