//! Opens regular files only: reading a FIFO would block, and a device or a Git LFS pointer would be
//! taken for data.
use crate::FileIdentity;
use crate::error::{CheckpointError, Defect, DefectKind};
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// A regular file, open for reading.
pub(crate) struct RegularFile {
    pub file: File,
    pub bytes: u64,
    pub identity: FileIdentity,
}

/// Opens a regular file. Opening a FIFO without a writer blocks forever, so the type is checked
/// first. `O_NONBLOCK` covers a FIFO that replaces the file between the check and the opening.
pub(crate) fn open_regular(path: &Path) -> Result<RegularFile, CheckpointError> {
    let io = |source| CheckpointError::io(path, "open it", 0, source);
    require_regular(path, &std::fs::metadata(path).map_err(io)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    require_regular(path, &metadata)?;
    Ok(RegularFile { file, bytes: metadata.len(), identity: FileIdentity::of(&metadata) })
}

fn require_regular(path: &Path, metadata: &Metadata) -> Result<(), CheckpointError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(Defect::new(
        DefectKind::NotRegularFile,
        path,
        "a regular file",
        type_label(metadata.file_type()),
    )
    .into())
}

fn type_label(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    }
}

/// Fills `into` from `offset`. If the file ends too early, the error is [`DefectKind::Truncated`].
pub(crate) fn read_at(
    path: &Path,
    file: &File,
    into: &mut [u8],
    offset: u64,
) -> Result<(), CheckpointError> {
    file.read_exact_at(into, offset).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            let expected = format!("{} bytes from offset {offset}", into.len());
            Defect::new(DefectKind::Truncated, path, expected, "the end of the file").into()
        }
        _ => CheckpointError::io(path, "read it", offset, source),
    })
}

/// The text of a small file; `None` if the file does not exist. A dangling link is an error.
///
/// # Errors
/// A [`Defect`] if the path is not a regular file, or its content is longer than `bytes_max`, not
/// UTF-8, or a Git LFS pointer; `NotFound` for a dangling link; `Io` if reading fails.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<Option<String>, CheckpointError> {
    if let Err(error) = std::fs::symlink_metadata(path)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Ok(None);
    }
    let opened = open_regular(path)?;
    if opened.bytes > bytes_max {
        let found = format!("{} bytes", opened.bytes);
        return Err(Defect::new(
            DefectKind::TooLarge,
            path,
            format!("at most {bytes_max} bytes"),
            found,
        )
        .into());
    }
    let mut bytes = vec![0; opened.bytes as usize];
    read_at(path, &opened.file, &mut bytes, 0)?;
    refuse_lfs_pointer(path, &bytes)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let found = format!("an invalid byte at {}", error.utf8_error().valid_up_to());
            Err(Defect::new(DefectKind::NotJson, path, "UTF-8 text", found).into())
        }
    }
}

/// Returns an error for the pointer file that `git clone` without Git LFS leaves in place of a
/// large file.
pub(crate) fn refuse_lfs_pointer(path: &Path, start: &[u8]) -> Result<(), CheckpointError> {
    if !start.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(200)]).into_owned();
    let size = text
        .lines()
        .find_map(|line| line.strip_prefix("size "))
        .map_or("of unknown size".to_owned(), |n| format!("of {n} bytes"));
    Err(Defect::new(DefectKind::LfsPointer, path, format!("a file {size}"), "a pointer to it")
        .into())
}

/// The blob id of the Hugging Face hub: if the file is a link into a cache's `blobs` folder, the
/// name of the link's target.
pub(crate) fn blob_id(path: &Path) -> Option<String> {
    std::fs::symlink_metadata(path).ok().filter(|m| m.file_type().is_symlink())?;
    let target = std::fs::canonicalize(path).ok()?;
    if target.parent()?.file_name()? != "blobs" {
        return None;
    }
    Some(target.file_name()?.to_str()?.to_owned())
}
