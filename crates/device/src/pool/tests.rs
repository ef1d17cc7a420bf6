//! Tests of the thread pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };

#[test]
fn every_part_runs_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads).unwrap();
        for round in 0..ROUNDS / 10 {
            let parts = round % 17;
            let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            pool.run(parts, &|part, of| {
                assert_eq!(of, parts);
                counts[part].fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "round {round}");
        }
    }
}

#[test]
fn writes_of_a_job_are_visible_after_the_join() {
    let pool = Pool::new(3).unwrap();
    for round in 0..ROUNDS {
        let cells: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        pool.run(4, &|part, _| cells[part].store(round + 1, Ordering::Relaxed)).unwrap();
        assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == round + 1));
    }
}

#[test]
fn chunks_cover_every_item_once() {
    let pool = Pool::new(2).unwrap();
    for (items, chunk) in [(0, 3), (1, 3), (7, 3), (9, 3), (100, 0), (5, 9)] {
        let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        pool.run_chunks(items, chunk, &|range| {
            for item in range {
                counts[item].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn a_panic_is_an_error_and_the_pool_stays_usable() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        let made = AtomicUsize::new(0);
        let error = pool
            .run(9, &|part, _| {
                made.fetch_add(1, Ordering::Relaxed);
                assert!(part != 4, "part four");
            })
            .unwrap_err();
        assert!(error.to_string().contains("part four"), "{error}");
        assert_eq!(made.load(Ordering::Relaxed), 9);
        pool.run(9, &|_, _| ()).unwrap();
    }
}

#[test]
fn callers_are_serialized_and_nested_jobs_run_serially() {
    let pool = Pool::new(3).unwrap();
    let total = AtomicUsize::new(0);
    let rounds = ROUNDS / 20;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    pool.run(4, &|_, _| {
                        pool.run(2, &|_, _| {
                            total.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 3 * rounds * 8);
}

#[test]
fn parked_helpers_wake_up() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..if cfg!(miri) { 2 } else { 30 } {
        std::thread::sleep(Duration::from_millis(2));
        let done = AtomicUsize::new(0);
        pool.run(64, &|_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 64);
    }
}

#[test]
fn more_threads_than_cores_finish_in_time() {
    let pool = Pool::new(16).unwrap();
    let start = Instant::now();
    for _ in 0..ROUNDS / 20 {
        pool.run(16, &|_, _| std::hint::black_box(())).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn dropping_an_idle_or_parked_pool_returns() {
    for pause_ms in [0, 1, 5] {
        let pool = Pool::new(4).unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        drop(pool);
    }
}
