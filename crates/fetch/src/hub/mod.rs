//! The model hub: what a repository holds, what of it a load needs, and bringing it.
mod client;
mod download;
mod listing;
mod store;

use crate::error::FetchError;
use crate::{FetchRequest, FetchSource};
use client::HubClient;
use listing::RepoFile;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::CachedRepository;
use watch::{Stage, Watch};

/// A hub, and who we are to it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its address.
    pub endpoint: String,
    /// What opens gated models, if we have it.
    pub token: Option<String>,
    /// Not to be asked unless it is named as the source.
    pub offline: bool,
}

impl Hub {
    /// What the hub client's variables say: `HF_ENDPOINT`; `HF_TOKEN`, `HF_TOKEN_PATH` or `token`
    /// in `HF_HOME`; `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let var = |key: &str| std::env::var(key).ok().filter(|value| !value.trim().is_empty());
        let home = var("HF_HOME").or_else(|| Some(format!("{}/.cache/huggingface", var("HOME")?)));
        let token_file = var("HF_TOKEN_PATH")
            .map(PathBuf::from)
            .or(home.map(|h| PathBuf::from(h).join("token")));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
        Hub {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: var("HF_HUB_OFFLINE").is_some_and(|v| v != "0"),
        }
    }
}

/// Files brought at a time: one stream seldom fills a wide link, many get refused.
const STREAMS: usize = 4;

/// Brings a repository's model into the hub client's cache, and gives its snapshot (or the GGUF
/// file in it).
pub(crate) fn fetch(order: &FetchRequest, watch: &Watch) -> Result<PathBuf, FetchError> {
    if order.source == FetchSource::Auto && order.hub.offline {
        return Err(FetchError::Offline { model: order.model.to_owned() });
    }
    let client = HubClient::new(order.hub);
    watch.note(format!("asking {} for {}", client.endpoint(), order.model));
    let listing = client.listing(order.model, order.revision)?;
    let wanted = listing.wanted(order.model, order.file)?;
    let repository = CachedRepository::new(order.hub_cache, order.model)?;
    let missing: Vec<&RepoFile> = wanted.iter().filter(|file| !repository.has(file)).collect();
    repository.check_space(&missing)?;
    watch.total(
        Stage::Fetch,
        missing.iter().map(|file| file.size_bytes).sum(),
        missing.len() as u64,
    );
    bring_all(&client, &repository, order, &listing.commit, &missing, watch)?;
    let snapshot =
        repository.publish(&listing.commit, order.revision.unwrap_or("main"), &wanted)?;
    Ok(match wanted.iter().find(|file| file.path.ends_with(".gguf")) {
        Some(gguf) => snapshot.join(&gguf.path),
        None => snapshot,
    })
}

fn bring_all(
    client: &HubClient,
    repository: &CachedRepository,
    order: &FetchRequest,
    commit: &str,
    files: &[&RepoFile],
    watch: &Watch,
) -> Result<(), FetchError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = |stream: usize| {
        let progress = watch.thread(&format!("stream {stream}"));
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let url = client.file_url(order.model, commit, &file.path);
            let brought = download::bring(client, &url, repository, file, &progress, watch);
            progress.item_done();
            if let Err(error) = brought {
                // The others stop at their next file; the first reason is the one that is told.
                next.store(files.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        (1..STREAMS.min(files.len())).for_each(|stream| drop(scope.spawn(move || work(stream))));
        work(0);
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}
