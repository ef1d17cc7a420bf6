//! Tests of work that never completes, and of GPUs that are lost.

use std::time::{Duration, Instant};

use device::cuda::{Buffer, CudaError, GpuArena, PinnedRing};
use error_kind::{ErrorKind, HasKind};

use crate::{MIB, gpu, on_fake_gpus, soon};

/// Asserts that `wait` times out soon after its deadline.
fn times_out(wait: impl FnOnce(Instant) -> Result<(), CudaError>) -> CudaError {
    let started = Instant::now();
    let error = wait(started + Duration::from_millis(100)).expect_err("the work hangs");
    assert!((100..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(
        matches!(error, CudaError::Timeout { ordinal: 0, .. })
            && error.kind() == ErrorKind::Timeout,
        "{error}"
    );
    error
}

#[test]
fn a_download_that_hangs_times_out() {
    let variables = [("FAKE_GPU_FAULT", "cuMemcpyDtoHAsync_v2:2:hang")];
    on_fake_gpus("failures::a_download_that_hangs_times_out", &variables, || {
        let gpu = gpu(0);
        let buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
        let mut numbers = [1.0; 100];
        buffer.download(0..100, &mut numbers, soon()).expect("the first");
        assert_eq!(numbers, [0.0; 100]);
        times_out(|deadline| buffer.download(0..100, &mut [0.0; 100], deadline));
        times_out(|deadline| gpu.synchronize(deadline));
        // Freeing memory that hanging work uses would block forever, so the memory is leaked.
        let started = Instant::now();
        drop((buffer, gpu));
        assert!(started.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn a_copy_of_weights_that_hangs_times_out() {
    let variables = [("FAKE_GPU_FAULT", "cuMemcpyHtoDAsync_v2:1:hang")];
    on_fake_gpus("failures::a_copy_of_weights_that_hangs_times_out", &variables, || {
        let gpu = gpu(0);
        let arena = GpuArena::new(&gpu, MIB).expect("an arena");
        let ring = PinnedRing::new(&gpu, 1, 1000).expect("a ring");
        let mut region = arena.region(1000).expect("a region");
        let part = region.whole().expect("a part");
        ring.acquire(soon()).expect("a buffer").filled().copy(0..1000, part).expect("queued");
        let error = times_out(|deadline| ring.acquire(deadline).map(drop));
        assert!(error.to_string().contains("pinned buffer"), "{error}");
        times_out(|deadline| ring.drain(deadline));
        let error = times_out(|deadline| region.finish(deadline).map(drop));
        assert!(error.to_string().contains("copy of weights"), "{error}");
        // The compute stream still works.
        let buffer = Buffer::<u8>::new(&gpu, 10).expect("a buffer");
        buffer.download(0..10, &mut [0; 10], soon()).expect("zeros");
    });
}

#[test]
fn every_call_after_a_gpu_is_lost_returns_the_same_error() {
    let variables =
        [("FAKE_GPUS", "64MiB,64MiB"), ("FAKE_GPU_FAULT", "cuMemcpyHtoDAsync_v2:2:lost")];
    on_fake_gpus(
        "failures::every_call_after_a_gpu_is_lost_returns_the_same_error",
        &variables,
        || {
            let (gpu, other) = (gpu(0), gpu(1));
            let mut buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
            buffer.upload(0, &[1.0; 100], soon()).expect("the first");
            let error = buffer.upload(0, &[1.0; 100], soon()).expect_err("lost");
            assert!(
                matches!(
                    error,
                    CudaError::Lost { ordinal: 0, call: "cuMemcpyHtoDAsync_v2", code: 999, .. }
                ),
                "{error}"
            );
            assert!(
                error.kind() == ErrorKind::Unavailable
                    && error.to_string().contains("CUDA device 0 is lost"),
                "{error}"
            );
            assert_eq!(buffer.download(0..100, &mut [0.0; 100], soon()).expect_err("lost"), error);
            assert_eq!(gpu.memory().expect_err("lost"), error);
            assert_eq!(gpu.synchronize(soon()).expect_err("lost"), error);
            assert_eq!(GpuArena::new(&gpu, 1).map(drop).expect_err("lost"), error);
            // The other GPU is unaffected.
            let mut buffer = Buffer::<f32>::new(&other, 100).expect("a buffer");
            buffer.upload(0, &[1.0; 100], soon()).expect("fine");
            other.synchronize(soon()).expect("fine");
        },
    );
}

#[test]
fn an_error_of_queued_work_is_reported_by_a_later_call() {
    let variables = [("FAKE_GPU_FAULT", "cuMemsetD8Async:2:illegal")];
    on_fake_gpus(
        "failures::an_error_of_queued_work_is_reported_by_a_later_call",
        &variables,
        || {
            let gpu = gpu(0);
            let mut buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
            buffer.clear().expect("queued");
            let error = gpu.synchronize(soon()).expect_err("an illegal address");
            assert!(matches!(error, CudaError::Lost { ordinal: 0, code: 700, .. }), "{error}");
            assert!(error.to_string().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
        },
    );
}
