//! Tests that the CUDA emulator detects defects of kernels, with intentionally wrong kernels
//! (`emulator/kernels.cpp`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The program with the test kernels, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("kernels");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator/kernels.cpp");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned());
        let built = Command::new(&compiler)
            .args([
                "-std=c++17",
                "-O1",
                "-pthread",
                "-ffp-contract=off",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-o",
            ])
            .args([&program, &source])
            .output()
            .unwrap_or_else(|error| {
                panic!("{compiler}: {error}; install g++, or name a C++17 compiler in CXX")
            });
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (folder, program)
    });
    program
}

fn run(case: &str, kind: &str, order: &str) -> Output {
    Command::new(program()).args([case, kind, order]).output().expect("the program")
}

/// The values that the 64 threads of the kernel wrote.
fn values(output: &Output) -> Vec<u32> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|word| word.parse().expect("an integer"))
        .collect()
}

/// Asserts that the emulator aborts the wrong variant of kernel `case` with a message that contains
/// `why`.
#[track_caller]
fn assert_aborts(case: &str, why: &str) {
    for order in ["forwards", "reversed"] {
        let output = run(case, "bad", order);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && message.contains(why),
            "{case} {order}: {:?} {message}",
            output.status
        );
    }
}

#[test]
fn correct_kernels_give_the_same_result_in_both_thread_orders() {
    let next: Vec<u32> = (0..64).map(|i| (i + 1) % 64).collect();
    let words: Vec<u32> = (0..64).map(|i| 4 * i + 1).collect();
    for order in ["forwards", "reversed"] {
        assert_eq!(values(&run("pass_on", "good", order)), next);
        assert_eq!(values(&run("leave_block", "good", order)), [1; 64]);
        assert_eq!(values(&run("leave_warp", "good", order)), [32; 64]);
        assert_eq!(values(&run("part_ways", "good", order)), [32; 64]);
        assert_eq!(values(&run("copy_early", "good", order)), words);
        assert_eq!(values(&run("load_askew", "good", order)), words);
    }
}

#[test]
fn mma_multiplies_fragments_in_the_layout_of_the_ptx_isa() {
    assert_eq!(values(&run("multiply", "good", "forwards")), [0; 64]);
    assert_eq!(values(&run("multiply", "bad", "forwards")), [1; 64]);
}

#[test]
fn a_missing_barrier_gives_unwritten_memory() {
    let found =
        [values(&run("pass_on", "bad", "forwards")), values(&run("pass_on", "bad", "reversed"))];
    // In unwritten shared memory all bits are set.
    assert_eq!(found[0][..63], [u32::MAX; 63]);
    assert_ne!(found[0], found[1]);
}

#[test]
fn asynchronous_copies_arrive_at_the_wait() {
    assert_eq!(values(&run("copy_early", "bad", "forwards")), [u32::MAX; 64]);
}

#[test]
fn diverging_threads_are_reported() {
    assert_aborts("leave_block", "threads 0 to 31 wait for __syncthreads");
    assert_aborts("leave_warp", "wait for a shuffle");
    assert_aborts("part_ways", "waits for");
}

#[test]
fn misaligned_loads_are_refused() {
    assert_aborts("load_askew", "not aligned");
}
