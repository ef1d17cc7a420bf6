//! The list of files in a hub repository, and the selection of those that loading a model needs.

use crate::error::FetchError;
use crate::hash::ExpectedHash;
use serde::Deserialize;

/// The hub API's description of a repository at one commit.
#[derive(Debug, Deserialize)]
pub(super) struct RepoListing {
    /// Id of the commit to which the revision resolves.
    #[serde(rename = "sha")]
    pub commit: String,
    siblings: Vec<RepoEntry>,
}

#[derive(Debug, Deserialize)]
struct RepoEntry {
    #[serde(rename = "rfilename")]
    path: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// A file that loading the model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepoFile {
    /// Path within the repository.
    pub path: String,
    pub size_bytes: u64,
    pub hash: ExpectedHash,
}

/// Endings of the names of configuration, tokenizer and template files.
const COMPANION_ENDINGS: [&str; 5] =
    [".json", ".jinja", "merges.txt", "vocab.txt", "tokenizer.model"];

impl RepoListing {
    /// The files to fetch: all safetensors weights with the configuration, tokenizer and templates.
    /// Without safetensors weights, or if `file` names one: a single GGUF file.
    pub(super) fn select(
        &self,
        model: &str,
        file: Option<&str>,
    ) -> Result<Vec<RepoFile>, FetchError> {
        let matching = |predicate: fn(&str) -> bool| {
            self.siblings.iter().filter(move |s| predicate(&s.path)).collect::<Vec<_>>()
        };
        let weights = matching(|path| !path.contains('/') && path.ends_with(".safetensors"));
        let ggufs = matching(|path| path.ends_with(".gguf"));
        let not_there = |why: String| FetchError::NotThere { model: model.to_owned(), why };
        let chosen = match (file, weights.as_slice(), ggufs.as_slice()) {
            (Some(name), ..) => {
                let found = ggufs.iter().find(|s| s.path == name).copied();
                vec![found.ok_or_else(|| {
                    not_there(format!("expected a GGUF file {name}, found {}", names(&ggufs)))
                })?]
            }
            (None, [_, ..], _) => {
                let companions = matching(|path| {
                    let depth = path.matches('/').count();
                    let templates = depth == 1 && path.starts_with("additional_chat_templates/");
                    (depth == 0 || templates)
                        && COMPANION_ENDINGS.iter().any(|end| path.ends_with(end))
                });
                [companions, weights].concat()
            }
            (None, [], [one]) => vec![*one],
            (None, [], [_, ..]) => {
                return Err(not_there(format!(
                    "expected one GGUF file, found several. Name one with --file: {}",
                    names(&ggufs)
                )));
            }
            (None, [], []) => {
                return Err(not_there(format!(
                    "expected safetensors or GGUF weights, found {}. Other weight formats are not supported",
                    names(&self.siblings.iter().collect::<Vec<_>>())
                )));
            }
        };
        chosen
            .into_iter()
            .map(|sibling| {
                sibling.checked().ok_or_else(|| {
                    not_there(format!(
                        "the hub announces no usable path, size and hash for {:?}",
                        sibling.path
                    ))
                })
            })
            .collect()
    }
}

impl RepoEntry {
    /// The file with its size and hash. `None` if size or hash is missing or malformed, or if the
    /// path could lead out of the cache folder.
    fn checked(&self) -> Option<RepoFile> {
        let plain = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        };
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let (size_bytes, hash) = match (&self.lfs, &self.blob_id, self.size) {
            (Some(lfs), ..) if hex(&lfs.sha256, 64) => {
                (lfs.size, ExpectedHash::Sha256(lfs.sha256.clone()))
            }
            (None, Some(blob), Some(size)) if hex(blob, 40) => {
                (size, ExpectedHash::GitBlob(blob.clone()))
            }
            _ => return None,
        };
        self.path.split('/').all(plain).then(|| RepoFile {
            path: self.path.clone(),
            size_bytes,
            hash,
        })
    }
}

fn names(files: &[&RepoEntry]) -> String {
    let shown: Vec<&str> = files.iter().take(12).map(|s| s.path.as_str()).collect();
    let more = files.len().saturating_sub(shown.len());
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}
