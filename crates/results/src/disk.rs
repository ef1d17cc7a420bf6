//! File operations whose results are durable (synced) and atomic.

use crate::error::ResultsError;
use crate::schema::SCHEMA_VERSION;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Creates a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), ResultsError> {
    fs::create_dir_all(path).map_err(|source| ResultsError::from_io("create", path, None, source))
}

/// Reads a file; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, ResultsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(ResultsError::from_io("read", path, None, source)),
    }
}

/// Reads a JSON document; `None` if it does not exist.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ResultsError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let bad = |source| ResultsError::BadDocument { path: path.to_path_buf(), source };
    // The version is checked before the fields: a document of another version may lack required
    // ones.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(bad)?;
    let found = value.get("schema_version").and_then(serde_json::Value::as_u64);
    if let Some(found) = found.filter(|found| *found != u64::from(SCHEMA_VERSION)) {
        return Err(ResultsError::OtherVersion {
            path: path.to_path_buf(),
            found,
            expected: SCHEMA_VERSION,
        });
    }
    serde_json::from_value(value).map(Some).map_err(bad)
}

/// Creates a JSON document atomically, unless `path` exists: writes and syncs a temporary file in
/// the same folder, whose name contains `tag`, and hard-links it to `path`. Returns `false` if
/// `path` existed.
pub(crate) fn link_document<T: Serialize>(
    path: &Path,
    tag: &str,
    document: &T,
) -> Result<bool, ResultsError> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|source| ResultsError::Unwritable { what: "a document", source })?;
    bytes.push(b'\n');
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{tag}.new"));
    let sibling = path.with_file_name(name);
    let outcome = write_synced(&sibling, &bytes).and_then(|()| link_once(&sibling, path));
    // A leftover temporary file is harmless, so errors are ignored.
    let _ = fs::remove_file(&sibling);
    let linked = outcome?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(linked)
}

/// Creates or replaces a file with these bytes and syncs it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), ResultsError> {
    let fail = |source| ResultsError::from_io("write", path, Some(0), source);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// Hard-links `from` to `to`, which is atomic on every file system that supports links, NFS
/// included. Returns `false` if `to` exists.
fn link_once(from: &Path, to: &Path) -> Result<bool, ResultsError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        // If the server's reply is lost and the request is repeated, NFS may report `AlreadyExists`
        // for the link that this call created.
        Err(source) if source.kind() == ErrorKind::AlreadyExists => Ok(same_file(from, to)),
        Err(source)
            if matches!(source.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) =>
        {
            Err(ResultsError::NoLinks { path: to.to_path_buf(), source })
        }
        Err(source) => Err(ResultsError::from_io("link", to, None, source)),
    }
}

#[cfg(unix)]
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &Path, _: &Path) -> bool {
    false
}

/// Syncs a folder, so that new and renamed entries survive a crash.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ResultsError> {
    let folder =
        File::open(path).map_err(|source| ResultsError::from_io("open", path, None, source))?;
    match folder.sync_all() {
        Ok(()) => Ok(()),
        // Some network file systems cannot sync a folder, and do not need it.
        Err(source)
            if matches!(source.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        Err(source) => Err(ResultsError::from_io("sync", path, None, source)),
    }
}

/// Names of the entries of a folder, sorted; empty if the folder does not exist.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, ResultsError> {
    let fail = |source| ResultsError::from_io("read", path, None, source);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(source) if matches!(source.kind(), ErrorKind::NotFound) => return Ok(Vec::new()),
        Err(source) => return Err(fail(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
