//! Tests of copies between two GPUs.

use std::time::{Duration, Instant};

use device::cuda::{Buffer, CudaError, LinkPath, PeerLink};

use crate::{MIB, gpu, on_fake_gpus, pattern, soon};

/// Opens a link between two GPUs, verifies copies over it, and returns its path.
fn path_of_a_working_link() -> LinkPath {
    let gpus = [gpu(0), gpu(1)];
    let link = PeerLink::open(&gpus[0], &gpus[1], soon()).expect("a link");
    let mut from = Buffer::<u8>::new(&gpus[0], 6 * MIB).expect("a buffer");
    let mut to = Buffer::<u8>::new(&gpus[1], 6 * MIB).expect("a buffer");
    let mut kept = Buffer::<u8>::new(&gpus[1], 100).expect("a buffer");
    let mut last = vec![0; 100];
    for seed in [5, 9] {
        from.upload(0, &pattern(6 * MIB, seed), soon()).expect("up");
        from.gpu().synchronize(soon()).expect("up");
        // The second GPU is busy with earlier work, whose last operation must read the bytes that
        // `to` has before the copy over the link.
        (0..100).for_each(|_| kept.clear().expect("queued"));
        kept.copy_from(0, &to, 100..200).expect("queued");
        link.copy(&from, 1..5 * MIB, &mut to, 100, soon()).expect("copied");
        // Work queued after the copy must not run before it.
        from.clear().expect("cleared");
        let mut back = vec![0; 5 * MIB - 1];
        to.download(100..5 * MIB + 99, &mut back, soon()).expect("down");
        assert!(back == pattern(6 * MIB, seed)[1..5 * MIB], "the bytes differ");
        let mut before = vec![0; 100];
        kept.download(0..100, &mut before, soon()).expect("down");
        assert_eq!(before, last, "the copy did not wait for earlier work on the second GPU");
        last.copy_from_slice(&back[..100]);
    }
    let error = link.copy(&from, 0..10, &mut to, 6 * MIB - 9, soon()).expect_err("outside");
    assert!(matches!(error, CudaError::OutOfRange { .. }), "{error}");
    let mut wrong = Buffer::<u8>::new(&gpus[0], 10).expect("a buffer");
    let error = link.copy(&from, 0..10, &mut wrong, 0, soon()).expect_err("the wrong gpu");
    assert!(matches!(error, CudaError::WrongGpu { expected: 1, found: 0, .. }), "{error}");
    link.path().clone()
}

const TWO_GPUS: (&str, &str) = ("FAKE_GPUS", "64MiB,64MiB");

#[test]
fn gpus_with_peer_access_copy_directly() {
    let variables = [TWO_GPUS, ("FAKE_GPU_DELAY_US", "500")];
    on_fake_gpus("peer_link::gpus_with_peer_access_copy_directly", &variables, || {
        assert_eq!(path_of_a_working_link(), LinkPath::Direct);
        let alone = gpu(1);
        let link = PeerLink::open(&alone, &alone, soon()).expect("a link to itself");
        let mut buffer = Buffer::<u8>::new(&alone, 10).expect("a buffer");
        let from = Buffer::<u8>::new(&alone, 10).expect("a buffer");
        link.copy(&from, 0..10, &mut buffer, 0, soon()).expect("copied");
        alone.synchronize(soon()).expect("done");
    });
}

fn assert_staged_because(reason: &str) {
    match path_of_a_working_link() {
        LinkPath::Staged { why } => assert!(why.contains(reason), "{why}"),
        LinkPath::Direct => panic!("the copy went peer to peer"),
    }
}

#[test]
fn gpus_without_peer_access_copy_through_the_host() {
    let variables = [
        TWO_GPUS,
        ("FAKE_GPU_FAULT", "cuDeviceCanAccessPeer:1:nopeer"),
        ("FAKE_GPU_DELAY_US", "500"),
    ];
    on_fake_gpus("peer_link::gpus_without_peer_access_copy_through_the_host", &variables, || {
        assert_staged_because("no peer access");
    });
}

#[test]
fn refused_peer_access_falls_back_to_the_host() {
    let variables = [TWO_GPUS, ("FAKE_GPU_FAULT", "cuCtxEnablePeerAccess:1:217")];
    on_fake_gpus("peer_link::refused_peer_access_falls_back_to_the_host", &variables, || {
        assert_staged_because("CUDA_ERROR_PEER_ACCESS_UNSUPPORTED");
    });
}

#[test]
fn a_corrupted_test_copy_falls_back_to_the_host() {
    let variables = [TWO_GPUS, ("FAKE_GPU_FAULT", "cuMemcpyPeerAsync:1:corrupt")];
    on_fake_gpus("peer_link::a_corrupted_test_copy_falls_back_to_the_host", &variables, || {
        assert_staged_because("corrupted");
    });
}

#[test]
fn a_test_copy_that_hangs_falls_back_to_the_host() {
    let variables = [TWO_GPUS, ("FAKE_GPU_FAULT", "cuMemcpyPeerAsync:1:hang")];
    on_fake_gpus("peer_link::a_test_copy_that_hangs_falls_back_to_the_host", &variables, || {
        let started = Instant::now();
        assert_staged_because("did not complete within 2.0 s");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    });
}
