//! Tests of loading through pinned buffers.

use std::time::{Duration, Instant};

use device::cuda::{Buffer, CudaError, Driver, Gpu, GpuArena, PinnedRing};
use error_kind::{ErrorKind, HasKind};

use crate::{MIB, gpu, on_fake_gpus, pattern, soon};

#[test]
fn a_region_becomes_bytes_only_after_every_part_arrived() {
    on_fake_gpus(
        "pinned_ring::a_region_becomes_bytes_only_after_every_part_arrived",
        &[("FAKE_GPU_DELAY_US", "2000")],
        || {
            let gpu = gpu(0);
            let arena = GpuArena::new(&gpu, MIB).expect("an arena");
            let ring = PinnedRing::new(&gpu, 2, 1000).expect("a ring");
            let fill = |seed| {
                let mut buffer = ring.acquire(soon()).expect("a buffer");
                buffer.copy_from_slice(&pattern(1000, seed));
                buffer.filled()
            };
            let mut region = arena.region(2000).expect("a region");
            let [first, _second] =
                <[_; 2]>::try_from(region.parts(&[1000, 1000]).expect("parts")).ok().expect("two");
            fill(1).copy(0..1000, first).expect("queued");
            let error = region.finish(soon()).expect_err("half");
            assert_eq!(
                error,
                CudaError::Unfilled { ordinal: 0, filled_bytes: 1000, expected_bytes: 2000 }
            );

            let mut region = arena.region(1500).expect("a region");
            fill(2).copy(500..1000, region.part(500).expect("a part")).expect("queued");
            // The other parts are filled by `GpuPart::fill`, which here queues no kernel.
            let mut words = Buffer::<u8>::new(&gpu, 1000).expect("a buffer");
            fill(3).copy_for_kernels(0..1000, &mut words, 0).expect("queued");
            let failed = region.part(0).expect("a part").fill(|span| {
                assert!(span.is_empty());
                Err(CudaError::NoDevice)
            });
            assert_eq!(failed, Err(CudaError::NoDevice));
            let mut place = (0, 0);
            let part = region.whole().expect("the rest");
            part.fill(|span| {
                place = (span.address(), span.len());
                Ok::<_, CudaError>(())
            })
            .expect("filled");
            let bytes = region.finish(soon()).expect("whole");
            assert_eq!((bytes.len(), place), (1500, (bytes.address() + 500, 1000)));
            let mut back = vec![0; 500];
            bytes.slice(0..500).expect("inside").download(&mut back, soon()).expect("down");
            assert_eq!(back, pattern(1000, 2)[500..]);
            assert!(bytes.slice(1000..1501).is_err() && bytes.download(&mut back, soon()).is_err());
            let mut back = vec![0; 1000];
            words.download(0..1000, &mut back, soon()).expect("down");
            assert_eq!(back, pattern(1000, 3));
        },
    );
}

#[test]
fn a_ring_carries_bytes_from_many_readers_to_two_gpus() {
    let variables = [("FAKE_GPUS", "64MiB,64MiB"), ("FAKE_GPU_DELAY_US", "300")];
    on_fake_gpus(
        "pinned_ring::a_ring_carries_bytes_from_many_readers_to_two_gpus",
        &variables,
        || {
            const PIECE: usize = 10_000;
            const PIECES: usize = 120;
            let gpus = [gpu(0), gpu(1)];
            let ring = PinnedRing::new(&gpus[0], 3, PIECE).expect("a ring");
            let mut regions = gpus.each_ref().map(|gpu| {
                let arena = GpuArena::new(gpu, PIECE * PIECES).expect("an arena");
                arena.region(PIECE * PIECES).expect("a region")
            });
            // Each piece is copied to both GPUs.
            let mut parts: Vec<_> = (0..PIECES)
                .map(|_| regions.each_mut().map(|region| region.part(PIECE).expect("a part")))
                .collect();
            std::thread::scope(|scope| {
                for reader in 0..4u32 {
                    let share = parts.split_off(parts.len() - PIECES / 4);
                    let (ring, first) = (&ring, PIECES as u32 - (reader + 1) * PIECES as u32 / 4);
                    scope.spawn(move || {
                        for ([one, two], seed) in share.into_iter().zip(first..) {
                            let mut buffer = ring.acquire(soon()).expect("a buffer");
                            buffer.copy_from_slice(&pattern(PIECE, seed));
                            let mut bytes = buffer.filled();
                            bytes.copy(0..PIECE, one).expect("queued");
                            bytes.copy(0..PIECE, two).expect("queued");
                        }
                    });
                }
            });
            ring.drain(soon()).expect("all arrived");
            for region in regions {
                let bytes = region.finish(soon()).expect("whole");
                for piece in 0..PIECES {
                    let mut back = vec![0; PIECE];
                    bytes
                        .slice(piece * PIECE..(piece + 1) * PIECE)
                        .expect("inside")
                        .download(&mut back, soon())
                        .expect("down");
                    assert!(back == pattern(PIECE, piece as u32), "piece {piece} on {bytes:?}");
                }
            }
        },
    );
}

#[test]
fn a_ring_reuses_the_most_recently_returned_idle_buffer() {
    let variables = [("FAKE_GPU_DELAY_US", "100000")];
    on_fake_gpus(
        "pinned_ring::a_ring_reuses_the_most_recently_returned_idle_buffer",
        &variables,
        || {
            let gpu =
                Gpu::for_copies(&Driver::open().expect("a driver"), 0, u64::MAX).expect("a gpu");
            let arena = GpuArena::new(&gpu, 1000).expect("an arena");
            let mut region = arena.region(300).expect("a region");
            let ring = PinnedRing::new(&gpu, 3, 100).expect("a ring");
            let [one, two, three] = [(); 3].map(|()| ring.acquire(soon()).expect("a buffer"));
            let [a, b, c] = [&one, &two, &three].map(|buffer| buffer.as_ptr());
            drop((two, three, one));
            let first = ring.acquire(soon()).expect("a buffer");
            assert_eq!(first.as_ptr(), a, "the most recently returned buffer");
            first.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
            let second = ring.acquire(soon()).expect("a buffer");
            assert_eq!(
                second.as_ptr(),
                c,
                "a copy uses the most recent one; this was returned before it"
            );
            second.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
            let third = ring.acquire(soon()).expect("a buffer");
            assert_eq!(third.as_ptr(), b);
            third.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
            // Copies use all buffers: the oldest copy completes first and is awaited.
            let fourth = ring.acquire(soon()).expect("a buffer");
            assert_eq!(fourth.as_ptr(), a);
            drop(fourth);
            ring.drain(soon()).expect("all arrived");
            region.finish(soon()).expect("whole");
        },
    );
}

#[test]
fn waiting_for_a_buffer_that_readers_hold_times_out() {
    on_fake_gpus("pinned_ring::waiting_for_a_buffer_that_readers_hold_times_out", &[], || {
        let gpu = gpu(0);
        let ring = PinnedRing::new(&gpu, 2, 100).expect("a ring");
        let (first, _second) =
            (ring.acquire(soon()).expect("one"), ring.acquire(soon()).expect("two"));
        let started = Instant::now();
        let error =
            ring.acquire(started + Duration::from_millis(50)).map(drop).expect_err("none is left");
        assert!(
            matches!(error, CudaError::RingExhausted { buffers: 2, .. })
                && error.kind() == ErrorKind::Timeout,
            "{error}"
        );
        assert!((50..5000).contains(&started.elapsed().as_millis()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ring.acquire(soon()).map(drop));
            std::thread::sleep(Duration::from_millis(20));
            drop(first);
            assert!(waiting.join().expect("no panic").is_ok());
        });
    });
}
