//! Fake GPUs for tests: builds `crates/device/fake_gpu` once, and runs a test again in a process of
//! its own that finds it as the CUDA driver (a process cannot change where its own libraries come
//! from).
#![allow(dead_code)] // each test takes what it needs

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Names the test that a process is for.
const TEST: &str = "VENDOMINI_FAKE_GPU_TEST";

/// How long building may take, and a test.
const BUILD_LIMIT: Duration = Duration::from_secs(500);
const TEST_LIMIT: Duration = Duration::from_secs(500);

/// Runs `body` in a process of its own, with fake GPUs and these variables (`FAKE_GPUS` and the
/// like: see `driver.cpp`). `test` is the calling test's name, with its modules.
pub fn on_fake_gpus(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var(TEST).is_ok_and(|found| found == test) {
        return body();
    }
    run_again(test, &folder(), variables);
}

/// Runs `body` in a process of its own that finds no driver, whatever the host has.
pub fn without_a_driver(test: &str, body: impl FnOnce()) {
    if std::env::var(TEST).is_ok_and(|found| found == test) {
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
    command.args([test, "--exact", "--nocapture"]).env(TEST, test).env("LD_LIBRARY_PATH", library);
    for cleared in ["CUDA_VISIBLE_DEVICES", "FAKE_GPUS", "FAKE_GPU_FAULT", "FAKE_GPU_DELAY_US"] {
        command.env_remove(cleared);
    }
    command.envs(variables.iter().copied()).stdout(file()).stderr(file());
    let status = ended(command.spawn().expect("a process"), TEST_LIMIT);
    let said = std::fs::read_to_string(&output).expect("its output");
    assert!(
        status.is_some_and(|status| status.success()),
        "{test} with {variables:?}: {status:?}\n{said}"
    );
    assert!(said.contains("1 passed"), "{test} is no test of this program:\n{said}");
}

/// The folder of `libcuda.so.1`, built unless these very sources were built before.
pub fn folder() -> PathBuf {
    let device = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/device");
    let program = std::env::current_exe().expect("this program");
    let target = program.parent().and_then(Path::parent).expect("target/debug/deps");
    let all = target.join("fake_driver");
    std::fs::create_dir_all(&all).expect("a folder");
    let folder = all.join(sources(&device));
    // Tests that run at the same time build once.
    let lock = std::fs::File::create(all.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    if !folder.join("libcuda.so.1").exists() {
        let build = Command::new(device.join("fake_driver/build"))
            .arg(&folder)
            .spawn()
            .expect("fake_driver/build");
        let status = ended(build, BUILD_LIMIT);
        assert!(
            status.is_some_and(|status| status.success()),
            "the fake GPU was not built ({status:?}): it needs g++ (apt-get install g++), see above"
        );
    }
    folder
}

/// A name for what the fake GPU is made of.
fn sources(device: &Path) -> String {
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

/// Waits for a process, and ends it at the limit (`None`).
fn ended(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a state") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("ended");
    None
}
