//! A FUSE file system with the files of a folder, for tests: it is a network file system for the
//! program, and its reads are slow or never return.
#![allow(clippy::print_stderr, reason = "a test")]

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request,
};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// How a file system answers reads.
#[derive(Debug, Clone, Copy)]
pub enum Reads {
    /// At this rate in all.
    BytesPerS(u64),
    /// Never, beyond this offset of the file of this name.
    StuckAt(&'static str, u64),
}

/// A mounted file system; unmounted when dropped.
pub struct SlowMount {
    folder: tempfile::TempDir,
    session: Option<BackgroundSession>,
}

impl SlowMount {
    /// Mounts the files of a folder (not those of folders in it). What changes there, changes in the
    /// mount. If this process may not mount, prints SKIPPED on stderr and returns `None`.
    pub fn of(source: &Path, reads: Reads) -> Option<SlowMount> {
        let folder = tempfile::tempdir().expect("a folder");
        let files = FolderFiles { source: source.to_owned(), names: Mutex::default(), reads };
        let mut config = Config::default();
        config.mount_options.extend([MountOption::RO, MountOption::FSName("slow".to_owned())]);
        match fuser::spawn_mount(files, folder.path(), &config) {
            Ok(session) => Some(SlowMount { folder, session: Some(session) }),
            Err(error) => {
                eprintln!("SKIPPED: no FUSE here ({error})");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SlowMount {
    fn drop(&mut self) {
        // A process that is stuck in a read keeps the mount busy, so it is detached first.
        drop(Command::new("umount").arg("-l").arg(self.folder.path()).status());
        drop(self.session.take());
    }
}

struct FolderFiles {
    source: PathBuf,
    /// Names by inode, as they were looked up.
    names: Mutex<BTreeMap<u64, OsString>>,
    reads: Reads,
}

/// The kernel asks again each time, so that a replaced file is seen at once.
const NO_TIME: Duration = Duration::ZERO;

impl FolderFiles {
    fn path(&self, inode: INodeNo) -> Option<PathBuf> {
        if inode == INodeNo::ROOT {
            return Some(self.source.clone());
        }
        Some(self.source.join(self.names.lock().expect("no panic").get(&u64::from(inode))?))
    }

    fn looked_up(&self, name: &OsStr) -> Option<FileAttr> {
        let metadata = std::fs::metadata(self.source.join(name)).ok().filter(Metadata::is_file)?;
        self.names.lock().expect("no panic").insert(metadata.ino(), name.to_owned());
        Some(attributes(INodeNo(metadata.ino()), &metadata))
    }

    /// The attributes of a file, if its name still leads to it.
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let metadata = std::fs::metadata(self.path(inode)?).ok()?;
        let same = inode == INodeNo::ROOT || metadata.ino() == u64::from(inode);
        same.then(|| attributes(inode, &metadata))
    }
}

fn attributes(inode: INodeNo, metadata: &Metadata) -> FileAttr {
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let is_folder = metadata.is_dir();
    FileAttr {
        ino: inode,
        size: if is_folder { 0 } else { metadata.len() },
        blocks: metadata.len().div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: if is_folder { FileType::Directory } else { FileType::RegularFile },
        perm: if is_folder { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for FolderFiles {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.looked_up(name) {
            Some(attributes) => reply.entry(&NO_TIME, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&NO_TIME, &attributes),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(path) = self.path(inode) else { return reply.error(Errno::ENOENT) };
        let mut bytes = vec![0; size as usize];
        let read = File::open(&path).and_then(|file| file.read_at(&mut bytes, offset));
        let Ok(read) = read else { return reply.error(Errno::EIO) };
        match self.reads {
            Reads::StuckAt(name, from)
                if path.ends_with(name) && offset + u64::from(size) > from =>
            {
                // Dropping the reply would answer the request, so it is leaked.
                std::mem::forget(reply);
                return;
            }
            Reads::StuckAt(..) => {}
            // Requests are answered one after the other, so this is the rate of all together.
            Reads::BytesPerS(rate) => {
                std::thread::sleep(Duration::from_secs_f64(read as f64 / rate as f64));
            }
        }
        reply.data(&bytes[..read]);
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = std::fs::read_dir(&self.source).expect("a folder").flatten();
        let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        for (at, name) in names.iter().enumerate().skip(offset as usize) {
            let Some(found) = self.looked_up(name) else { continue };
            if reply.add(found.ino, at as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}
