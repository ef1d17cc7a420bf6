//! Draws the crashes of a study.

use super::cox::SimulatedCrashes;
use super::design::{PATH_STEPS, PowerDesign};
use super::hazard::PlantedHazard;
use base::{SplitMix64, mix64};

/// Draws crashes of a design under a hazard.
pub(super) struct CrashSource<'a> {
    design: &'a PowerDesign,
    hazard: PlantedHazard,
    /// Relative cumulative hazard of each path, after each stretch of steps.
    cumulative: Vec<Vec<f64>>,
    worlds: usize,
}

/// Streams of random numbers of one simulated study. The worlds of a larger design begin with those
/// of a smaller one, so that designs are compared in the same worlds.
const WORLD_STREAM: u64 = 1;
const RUN_STREAM: u64 = 2;

fn stream(seed: u64, simulation: u64, stream: u64) -> SplitMix64 {
    SplitMix64(mix64(mix64(mix64(seed).wrapping_add(simulation)).wrapping_add(stream)))
}

/// Uniform in (0, 1].
fn positive_unit(random: &mut SplitMix64) -> f64 {
    1.0 - random.next_f64()
}

/// A standard normal number (Box and Muller 1958).
fn normal(random: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * positive_unit(random).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.next_f64()).cos()
}

impl<'a> CrashSource<'a> {
    pub fn new(design: &'a PowerDesign, hazard: PlantedHazard) -> CrashSource<'a> {
        let cumulative = design.paths().iter().map(|path| hazard.relative(path)).collect();
        let worlds = design.runs().iter().map(|run| run.world as usize + 1).max().unwrap_or(0);
        CrashSource { design, hazard, cumulative, worlds }
    }

    /// Draws the crashes of one study into `drawn`.
    pub fn draw(&self, seed: u64, simulation: u64, drawn: &mut SimulatedCrashes) {
        let PlantedHazard { hazard, world_sd, entered, .. } = self.hazard;
        let mut random = stream(seed, simulation, WORLD_STREAM);
        let rates: Vec<f64> =
            (0..self.worlds).map(|_| hazard * (world_sd * normal(&mut random)).exp()).collect();
        let mut random = stream(seed, simulation, RUN_STREAM);
        drawn.stop.clear();
        drawn.crashed.clear();
        for run in self.design.runs() {
            let threshold = -positive_unit(&mut random).ln() / rates[run.world as usize];
            let enters = random.next_f64() < entered;
            let (stop, crashed) = match enters {
                true => self.end(run.path, threshold),
                false => (0, false),
            };
            drawn.stop.push(stop);
            drawn.crashed.push(crashed);
        }
    }

    /// The step that ends a run, and whether it is that of a crash: the first in which the relative
    /// cumulative hazard reaches the threshold.
    fn end(&self, path: usize, threshold: f64) -> (u32, bool) {
        let (after, path) = (&self.cumulative[path], &self.design.paths()[path]);
        let stretch = after.partition_point(|sum| *sum < threshold);
        if stretch == after.len() {
            return (path.end as u32, false);
        }
        let start = (stretch as u64 * PATH_STEPS).max(path.entry);
        let before = stretch.checked_sub(1).map_or(0.0, |before| after[before]);
        let rate = (self.hazard.beta * path.exposure[stretch]).exp();
        let steps = ((threshold - before) / rate).ceil().max(1.0) as u64;
        ((start + steps).min((stretch as u64 + 1) * PATH_STEPS).min(path.end) as u32, true)
    }
}
