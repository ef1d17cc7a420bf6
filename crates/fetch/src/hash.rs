//! The hashes by which sources name their files.
use crate::error::FetchError;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a source promises of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpectedHash {
    /// SHA-256 of the bytes (large files on a hub, our pinned package).
    Sha256(String),
    /// git's name of the blob: SHA-1 over `blob <size>\0` and the bytes (small files on a hub).
    GitBlob(String),
}

impl ExpectedHash {
    /// Checks a file of `size_bytes`.
    pub(crate) fn check(&self, path: &Path) -> Result<(), FetchError> {
        let (what, expected, found) = match self {
            ExpectedHash::Sha256(expected) => ("SHA-256", expected, digest(path, Sha256::new())?),
            ExpectedHash::GitBlob(expected) => {
                let size_bytes =
                    path.metadata().map_err(|e| FetchError::io(path, "look at it", e))?.len();
                let header = Sha1::new_with_prefix(format!("blob {size_bytes}\0"));
                ("git blob", expected, digest(path, header)?)
            }
        };
        if *expected == found {
            return Ok(());
        }
        Err(FetchError::Damaged {
            file: path.to_owned(),
            expected: format!("{what} {expected}"),
            found: format!("{what} {found}"),
        })
    }

    /// The name under which the hub client's cache keeps such a file.
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
