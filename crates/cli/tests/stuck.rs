//! Tests a read that never returns and cannot be killed, on a FUSE file system with direct I/O that
//! does not answer. The worker stays in the kernel even after SIGKILL; the supervisor must still
//! print its message and exit with the right code.
//!
//! The test needs `/dev/fuse` and the right to mount (root, or `fusermount3`). Without them it
//! prints SKIPPED.
#![allow(clippy::print_stderr, reason = "a test")]

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen,
    Request,
};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

const FOREVER: Duration = Duration::from_secs(3600);

/// A file system with the files of a folder, one of which cannot be read beyond an offset.
struct StuckFiles {
    /// Names and contents; the inode of a file is its index plus 2.
    files: Vec<(String, Vec<u8>)>,
    stuck_name: &'static str,
    stuck_offset: u64,
}

impl StuckFiles {
    fn of(folder: &Path, stuck_name: &'static str, stuck_offset: u64) -> Self {
        let read = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, std::fs::read(entry.path()).expect("a file"))
        };
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("a folder").flatten().map(read).collect();
        files.sort();
        StuckFiles { files, stuck_name, stuck_offset }
    }

    fn file(&self, inode: INodeNo) -> Option<&(String, Vec<u8>)> {
        self.files.get(usize::try_from(u64::from(inode)).ok()?.checked_sub(2)?)
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let root = inode == INodeNo::ROOT;
        let size = if root { 0 } else { self.file(inode)?.1.len() as u64 };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }
}

impl Filesystem for StuckFiles {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let at = self.files.iter().position(|(file, _)| name.to_str() == Some(file));
        match at.and_then(|at| self.attributes(INodeNo(at as u64 + 2))) {
            Some(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
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
        let Some((name, bytes)) = self.file(inode) else { return reply.error(Errno::ENOENT) };
        if name == self.stuck_name && offset + u64::from(size) > self.stuck_offset {
            // Dropping the reply would answer the request, so it is leaked.
            std::mem::forget(reply);
            return;
        }
        let from = (offset as usize).min(bytes.len());
        reply.data(&bytes[from..(from + size as usize).min(bytes.len())]);
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (at, (name, _)) in self.files.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(at as u64 + 2), at as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// Writes a checkpoint of three shards. The second shard is so large that reading its header does
/// not reach the offset at which reads get stuck.
fn checkpoint(folder: &Path) -> PathBuf {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
        "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2}"#;
    std::fs::write(folder.join("shape.json"), config).expect("a file");
    let (like, model) = (folder.join("shape.json"), folder.join("model"));
    let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["synth", "--shards", "3", "--random", "7", "--like"])
        .args([&like, &model])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    model
}

#[test]
fn a_worker_stuck_in_a_read_is_reported_and_left_behind() {
    let shard = "model-00002-of-00003.safetensors";
    let source = tempfile::tempdir().expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.mount_options.extend([MountOption::RO, MountOption::FSName("stuck".to_owned())]);
    let stuck = StuckFiles::of(&checkpoint(source.path()), shard, 4 << 20);
    let session = match fuser::spawn_mount(stuck, folder.path(), &config) {
        Ok(session) => session,
        Err(error) => {
            eprintln!(
                "SKIPPED a_worker_stuck_in_a_read_is_reported_and_left_behind: no FUSE here ({error})"
            );
            return;
        }
    };
    let since = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args([
            "load",
            folder.path().to_str().expect("UTF-8"),
            "--stall-timeout",
            "2",
            "--dtype",
            "int8",
        ])
        .output()
        .expect("the program starts");
    let (took, stderr) = (since.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned());
    // The worker cannot exit until its read returns, and keeps the mount busy, so the mount is
    // detached first.
    drop(Command::new("umount").arg("-l").arg(folder.path()).status());
    drop(session);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    for text in ["stalled in stage read", shard, "is stuck in the kernel and could not be reaped"] {
        assert!(stderr.contains(text), "{text:?} is not in: {stderr}");
    }
    assert!(took < Duration::from_secs(10), "{took:?}");
}
