//! What a repository holds, and what of it a load needs.
use crate::error::FetchError;
use crate::hash::ExpectedHash;
use serde::Deserialize;

/// A repository at one commit, as the hub's API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct RepoListing {
    /// The commit that the revision names.
    #[serde(rename = "sha")]
    pub commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
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

/// A file that a load needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepoFile {
    /// Its path in the repository.
    pub path: String,
    pub size_bytes: u64,
    pub promise: ExpectedHash,
}

/// Small files beside the weights.
const SMALL: [&str; 5] = [".json", ".jinja", "merges.txt", "vocab.txt", "tokenizer.model"];

impl RepoListing {
    /// The safetensors weights with what stands beside them, or one GGUF file where there are none.
    pub(super) fn wanted(
        &self,
        model: &str,
        file: Option<&str>,
    ) -> Result<Vec<RepoFile>, FetchError> {
        let there = |wanted: fn(&str) -> bool| {
            self.siblings.iter().filter(move |s| wanted(&s.path)).collect::<Vec<_>>()
        };
        let weights = there(|path| !path.contains('/') && path.ends_with(".safetensors"));
        let ggufs = there(|path| path.ends_with(".gguf"));
        let not_there = |why: String| FetchError::NotThere { model: model.to_owned(), why };
        let chosen = match (file, weights.as_slice(), ggufs.as_slice()) {
            (Some(name), ..) => {
                let found = ggufs.iter().find(|s| s.path == name).copied();
                vec![found.ok_or_else(|| {
                    not_there(format!("expected a GGUF file {name}, found {}", names(&ggufs)))
                })?]
            }
            (None, [_, ..], _) => {
                let beside = there(|path| {
                    let depth = path.matches('/').count();
                    let templates = depth == 1 && path.starts_with("additional_chat_templates/");
                    (depth == 0 || templates) && SMALL.iter().any(|end| path.ends_with(end))
                });
                [beside, weights].concat()
            }
            (None, [], [one]) => vec![*one],
            (None, [], [_, ..]) => {
                return Err(not_there(format!(
                    "holds several GGUF files; name one with --file: {}",
                    names(&ggufs)
                )));
            }
            (None, [], []) => {
                return Err(not_there(format!(
                    "expected safetensors or GGUF weights, found {}. Other forms of weights are not read",
                    names(&self.siblings.iter().collect::<Vec<_>>())
                )));
            }
        };
        chosen
            .into_iter()
            .map(|sibling| {
                sibling.wanted().ok_or_else(|| {
                    not_there(format!(
                        "the hub gives no usable path, size and hash of {:?}",
                        sibling.path
                    ))
                })
            })
            .collect()
    }
}

impl Sibling {
    /// `None` if the hub does not say enough, or says what could leave the cache's folder.
    fn wanted(&self) -> Option<RepoFile> {
        let plain = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        };
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let (size_bytes, promise) = match (&self.lfs, &self.blob_id, self.size) {
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
            promise,
        })
    }
}

fn names(files: &[&Sibling]) -> String {
    let shown: Vec<&str> = files.iter().take(12).map(|s| s.path.as_str()).collect();
    let more = files.len().saturating_sub(shown.len());
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}
