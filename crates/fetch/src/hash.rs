//! Hashes that the hub or the pinned pip package states for a file, and their verification.

use crate::error::FetchError;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The hash that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpectedHash {
    /// SHA-256 of the file's bytes: LFS files of a hub, and the GGUF file of the pinned pip
    /// package.
    Sha256(String),
    /// Git blob id, for files of a hub that are not in LFS: SHA-1 over `blob <size>\0` and the
    /// file's bytes.
    GitBlob(String),
}

impl ExpectedHash {
    /// Hashes the file at `path` and fails if the hash is not the expected one.
    pub(crate) fn check(&self, path: &Path) -> Result<(), FetchError> {
        let (algorithm, expected, found) = match self {
            ExpectedHash::Sha256(expected) => ("SHA-256", expected, digest(path, Sha256::new())?),
            ExpectedHash::GitBlob(expected) => {
                let size_bytes =
                    path.metadata().map_err(|e| FetchError::io(path, "read its size", e))?.len();
                let header = Sha1::new_with_prefix(format!("blob {size_bytes}\0"));
                ("git blob", expected, digest(path, header)?)
            }
        };
        if *expected == found {
            return Ok(());
        }
        Err(FetchError::Damaged {
            file: path.to_owned(),
            expected: format!("{algorithm} {expected}"),
            found: format!("{algorithm} {found}"),
        })
    }

    /// Name of the file in the `blobs` folder of the hub client's cache: the hash in hex.
    pub(crate) fn blob_name(&self) -> &str {
        match self {
            ExpectedHash::Sha256(hex) | ExpectedHash::GitBlob(hex) => hex,
        }
    }
}

fn digest<D: Digest>(path: &Path, mut digest: D) -> Result<String, FetchError> {
    let mut file = File::open(path).map_err(|e| FetchError::io(path, "open", e))?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| FetchError::io(path, "read", e))? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => digest.update(&buffer[..count]),
        }
    }
}
