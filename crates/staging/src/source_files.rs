//! The files of a checkpoint that are copied.

use crate::error::StagingError;
use checkpoint::{Checkpoint, CheckpointFormat, FileIdentity};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder, within a copy, of the checkpoint's own names.
const MODEL: &str = "model";
/// The folder of the files to which these names link, as in the hub's cache. With it, a copy has
/// the blob ids of its source, and so the same identity.
const BLOBS: &str = "blobs";
/// Besides weights: configurations, tokenizers and chat templates. The kinds are copied and not
/// known names, so that a file which a later version reads is not missing in a copy.
const SMALL_KINDS: [&str; 3] = ["json", "jinja", "txt"];
/// A folder of chat templates within a checkpoint.
const TEMPLATES: &str = "additional_chat_templates";

/// A file to copy, as it was when the checkpoint was opened.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// The checkpoint's path, which may be a link.
    pub path: PathBuf,
    pub bytes: u64,
    pub identity: FileIdentity,
    /// The path within the copy.
    pub name: PathBuf,
    /// Paths within the copy that link to it.
    pub links: Vec<PathBuf>,
    /// The file's SHA-256, if the hub's cache states it.
    pub sha256: Option<String>,
}

/// All files to copy.
#[derive(Debug)]
pub(crate) struct SourceFiles {
    /// Small files first, then the shards.
    pub files: Vec<SourceFile>,
    /// The path within the copy that is opened as a checkpoint.
    pub root: PathBuf,
    /// SHA-256 of path, names, sizes and modification times: the name of the copy. 32 hexadecimal
    /// digits. Inodes are left out, since some file systems number their files anew at each mount.
    pub key: String,
}

impl SourceFiles {
    /// Lists the files of an opened checkpoint.
    ///
    /// # Errors
    /// `Source` or `NotPlain` for a file that cannot be copied, `Changed` for a shard that is not
    /// the one whose header was read.
    pub fn of(checkpoint: &Checkpoint) -> Result<SourceFiles, StagingError> {
        let root = &checkpoint.root;
        let mut files: Vec<SourceFile> = Vec::new();
        if checkpoint.format == CheckpointFormat::Safetensors {
            for path in small_files(root)? {
                add(&mut files, root, &path)?;
            }
        }
        for shard in &checkpoint.inventory.shards {
            let found = source_file(base_of(checkpoint), &shard.path)?;
            check_identity(
                &shard.path,
                (shard.identity, shard.bytes),
                (found.identity, found.bytes),
            )?;
            push(&mut files, found);
        }
        let of_gguf = || root.file_name().map(|name| Path::new(MODEL).join(name));
        let opened = match checkpoint.format {
            CheckpointFormat::Safetensors => Some(PathBuf::from(MODEL)),
            CheckpointFormat::Gguf => of_gguf(),
        };
        let key = key(root, &files);
        Ok(SourceFiles { files, root: opened.unwrap_or_else(|| MODEL.into()), key })
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The folder of the checkpoint's names.
fn base_of(checkpoint: &Checkpoint) -> &Path {
    match checkpoint.format {
        CheckpointFormat::Safetensors => &checkpoint.root,
        CheckpointFormat::Gguf => checkpoint.root.parent().unwrap_or(Path::new("")),
    }
}

fn add(files: &mut Vec<SourceFile>, root: &Path, path: &Path) -> Result<(), StagingError> {
    push(files, source_file(root, path)?);
    Ok(())
}

/// Adds a file, or the links of one that is already listed: two names may link to one blob.
fn push(files: &mut Vec<SourceFile>, file: SourceFile) {
    match files.iter_mut().find(|listed| listed.name == file.name) {
        Some(listed) => listed.links.extend(file.links),
        None => files.push(file),
    }
}

/// The small files of a folder, sorted by name.
fn small_files(root: &Path) -> Result<Vec<PathBuf>, StagingError> {
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join(TEMPLATES)] {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder != *root => break,
            Err(error) => return Err(StagingError::source(&folder, "list it", error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| StagingError::source(&folder, "list it", error))?;
            let path = entry.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            if kind.is_some_and(|kind| SMALL_KINDS.contains(&kind)) && !path.is_dir() {
                names.push(path);
            }
        }
        names.sort();
        found.extend(names);
    }
    Ok(found)
}

fn source_file(root: &Path, path: &Path) -> Result<SourceFile, StagingError> {
    let metadata =
        std::fs::metadata(path).map_err(|e| StagingError::source(path, "read its metadata", e))?;
    require_plain(path, &metadata)?;
    let own = Path::new(MODEL).join(path.strip_prefix(root).unwrap_or(path));
    let blob = blob_id(path);
    let sha256 = blob.clone().filter(|id| {
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    let (name, links) = match blob {
        Some(id) => (Path::new(BLOBS).join(id), vec![own]),
        None => (own, Vec::new()),
    };
    Ok(SourceFile {
        path: path.to_owned(),
        bytes: metadata.len(),
        identity: FileIdentity::of(&metadata),
        name,
        links,
        sha256,
    })
}

fn require_plain(path: &Path, metadata: &Metadata) -> Result<(), StagingError> {
    if metadata.is_file() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a folder" } else { "a FIFO, a socket or a device" };
    Err(StagingError::NotPlain { file: path.to_owned(), found })
}

/// The name of the file in a `blobs` folder to which a path links, if it does.
fn blob_id(path: &Path) -> Option<String> {
    std::fs::symlink_metadata(path).ok().filter(|m| m.file_type().is_symlink())?;
    let target = std::fs::canonicalize(path).ok()?;
    (target.parent()?.file_name()? == BLOBS).then_some(())?;
    Some(target.file_name()?.to_str()?.to_owned())
}

fn key(root: &Path, files: &[SourceFile]) -> String {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mut hash = Sha256::new();
    hash.update(root.as_os_str().as_bytes());
    for file in files {
        for name in std::iter::once(&file.name).chain(&file.links) {
            hash.update([0]);
            hash.update(name.as_os_str().as_bytes());
        }
        hash.update(format!("\0{}\0{}\n", file.bytes, file.identity.modified_ns));
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl SourceFile {
    /// Opens the file, if it is still the one that was listed.
    ///
    /// # Errors
    /// `Source` if it cannot be opened, `Changed` if it is another file or has other contents.
    pub fn open(&self) -> Result<File, StagingError> {
        // Opening a FIFO that has taken the file's place would block.
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&self.path)
            .map_err(|error| failed(&self.path, "open it", error))?;
        self.check(&file)?;
        Ok(file)
    }

    /// The error of a read: a file that was changed says so.
    pub fn read_failed(&self, file: &File, error: std::io::Error) -> StagingError {
        let failed = failed(&self.path, "read it", error);
        self.check(file).err().unwrap_or(failed)
    }

    /// Checks that an open file is the one that was listed, and was not written to since.
    ///
    /// # Errors
    /// `Changed`.
    pub fn check(&self, file: &File) -> Result<(), StagingError> {
        let metadata = file.metadata().map_err(|e| failed(&self.path, "read its metadata", e))?;
        let found = (FileIdentity::of(&metadata), metadata.len());
        check_identity(&self.path, (self.identity, self.bytes), found)
    }
}

/// The error of an operation on a listed file. A network file system says that a file is stale if
/// it was replaced on its server.
fn failed(path: &Path, doing: &'static str, error: std::io::Error) -> StagingError {
    let how = match error.kind() {
        std::io::ErrorKind::StaleNetworkFileHandle => "replaced",
        std::io::ErrorKind::NotFound => "removed",
        _ => return StagingError::source(path, doing, error),
    };
    StagingError::Changed { file: path.to_owned(), how }
}

fn check_identity(
    path: &Path,
    expected: (FileIdentity, u64),
    found: (FileIdentity, u64),
) -> Result<(), StagingError> {
    let place = |identity: FileIdentity| (identity.device, identity.inode);
    let how = match () {
        () if expected == found => return Ok(()),
        () if place(expected.0) != place(found.0) => "replaced",
        () if found.1 < expected.1 => "truncated",
        () => "written to",
    };
    Err(StagingError::Changed { file: path.to_owned(), how })
}
