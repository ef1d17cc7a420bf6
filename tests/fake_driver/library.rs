//! Runs tests on fake GPUs: builds the fake CUDA driver (`crates/device/fake_driver`) once, and
//! runs a test again in a child process that loads it as `libcuda.so.1`, since a process cannot
//! change its own library path.
#![allow(dead_code)] // no test binary uses all functions

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Environment variable with the name of the test that a child process runs.
const TEST_VARIABLE: &str = "VENDOMINI_FAKE_GPU_TEST";

/// Time limits of the build of the driver and of a test.
const BUILD_LIMIT: Duration = Duration::from_secs(500);
const TEST_LIMIT: Duration = Duration::from_secs(500);

/// Runs `body` in a child process with fake GPUs and these environment variables (`FAKE_GPUS` and
/// others, see `driver.cpp`). `test` is the full name of the calling test, including its modules.
pub fn on_fake_gpus(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var(TEST_VARIABLE).is_ok_and(|found| found == test) {
        return body();
    }
    run_again(test, &folder(), variables);
}

/// Runs `body` in a child process that finds no usable driver, even if the host has one.
pub fn without_a_driver(test: &str, body: impl FnOnce()) {
    if std::env::var(TEST_VARIABLE).is_ok_and(|found| found == test) {
        return body();
    }
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(folder.path().join(name), "no library").expect("a file");
    }
    run_again(test, folder.path(), &[]);
}

fn run_again(test: &str, library: &Path, variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("output");
    let file =
        || std::fs::OpenOptions::new().create(true).append(true).open(&output).expect("a file");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([test, "--exact", "--nocapture"])
        .env(TEST_VARIABLE, test)
        .env("LD_LIBRARY_PATH", library);
    for cleared in ["CUDA_VISIBLE_DEVICES", "FAKE_GPUS", "FAKE_GPU_FAULT", "FAKE_GPU_DELAY_US"] {
        command.env_remove(cleared);
    }
    command.envs(variables.iter().copied()).stdout(file()).stderr(file());
    let status = wait_until(command.spawn().expect("a process"), TEST_LIMIT);
    let log = std::fs::read_to_string(&output).expect("its output");
    assert!(
        status.is_some_and(|status| status.success()),
        "{test} with {variables:?}: {status:?}\n{log}"
    );
    assert!(log.contains("1 passed"), "{test} is not a test of this binary:\n{log}");
}

/// The folder that contains `libcuda.so.1`. The library is built, unless it was already built from
/// the same sources.
pub fn folder() -> PathBuf {
    let device = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/device");
    let program = std::env::current_exe().expect("this program");
    let target = program.parent().and_then(Path::parent).expect("target/debug/deps");
    let all = target.join("fake_driver");
    std::fs::create_dir_all(&all).expect("a folder");
    let folder = all.join(source_hash(&device));
    // The lock ensures that concurrent tests build the library only once.
    let lock = std::fs::File::create(all.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    if !folder.join("libcuda.so.1").exists() {
        let build = Command::new(device.join("fake_driver/build"))
            .arg(&folder)
            .spawn()
            .expect("fake_driver/build");
        let status = wait_until(build, BUILD_LIMIT);
        assert!(
            status.is_some_and(|status| status.success()),
            "the fake CUDA driver was not built ({status:?}): it needs g++ (apt-get install g++), see above"
        );
    }
    folder
}

/// Hash of the sources and the compiler settings.
fn source_hash(device: &Path) -> String {
    let folders = [device.join("fake_driver"), device.join("src/cuda/kernels")];
    let entries =
        folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        std::fs::read(&file).expect("a source").hash(&mut hasher);
    }
    (std::env::var("CXX").ok(), std::env::var("CXXFLAGS").ok()).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Waits for a process to end; kills it after `limit` and returns `None`.
fn wait_until(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a state") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    None
}
