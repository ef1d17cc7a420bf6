//! Tests a disk that fills up during a run: the error is clear, no data is lost, and once space is
//! freed the resumed experiment writes the same bytes as an undisturbed one.
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use common::{folder_options, quiet, run_to_end, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::{Config, NoModels, run_experiment};
use std::path::Path;
use std::process::Command;

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts a file system of 256 KiB; `None` without permission to mount.
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
        let mounted =
            Command::new("mount").args(options).arg(folder.path()).output().ok()?.status.success();
        mounted.then_some(SmallDisk(folder))
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(self.0.path())
            .output()
            .unwrap();
        assert!(grown.status.success(), "{grown:?}");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_reported_and_the_experiment_resumes_after_space_is_freed() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    };
    let text =
        "experiment:\n  replications: 3\nenv:\n  max_steps: 100\nagent:\n  policy: careful\n";
    let config = Config::parse(text, "full.yaml", &[]).unwrap();
    let folder = disk.path().join("results");
    let error = run_experiment(&config, &NoModels, &folder_options(&folder, 1), &quiet, &|| false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(
        error.to_string().contains("no space left")
            && error.to_string().contains("the same command again"),
        "{error}"
    );
    disk.grow();
    run_to_end(&config, &folder, 2);
    let undisturbed = tempfile::tempdir().unwrap();
    run_to_end(&config, undisturbed.path(), 2);
    assert_eq!(steps_of(&folder), steps_of(undisturbed.path()));
}
