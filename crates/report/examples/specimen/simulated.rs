//! A simulated study: runs at five doses, which crash, are ruined or reach the horizon.

use base::SplitMix64;

pub const HORIZON: f64 = 500.0;
pub const DOSES: [f64; 5] = [0.0, 0.1, 0.3, 0.6, 1.0];

#[derive(Clone, Copy, PartialEq)]
pub enum Ending {
    Crashed,
    Ruined,
    Horizon,
}

pub struct SimulatedRun {
    pub dose: f64,
    pub end: f64,
    pub ending: Ending,
    /// Accumulated delivery error at each step.
    pub exposure: Vec<f64>,
}

/// Runs at each dose. The crash hazard of a step is `.0008 exp(.045 E)`, E the accumulated error.
pub fn runs(per_dose: usize, horizon: f64, seed: u64) -> Vec<SimulatedRun> {
    let mut random = SplitMix64(seed);
    let mut runs = Vec::new();
    for dose in DOSES {
        for _ in 0..per_dose {
            runs.push(run(dose, horizon, &mut random));
        }
    }
    runs
}

fn run(dose: f64, horizon: f64, random: &mut SplitMix64) -> SimulatedRun {
    let mut exposure = vec![0.0];
    let mut error = 0.0;
    for step in 1..=horizon as usize {
        if random.next_f64() < 0.03 + 0.14 * dose {
            error += random.next_f64() * (0.4 + 1.2 * dose);
        }
        exposure.push(error);
        let ending = if random.next_f64() < 0.0008 * (0.045f64 * error).exp() {
            Ending::Crashed
        } else if random.next_f64() < 0.0003 + 0.0006 * dose {
            Ending::Ruined
        } else {
            continue;
        };
        return SimulatedRun { dose, end: step as f64, ending, exposure };
    }
    SimulatedRun { dose, end: horizon, ending: Ending::Horizon, exposure }
}

/// Kaplan-Meier of crashes: (time, survival, low, high) with log-log bands, and censoring marks.
pub fn kaplan_meier(runs: &[&SimulatedRun]) -> (Vec<[f64; 4]>, Vec<(f64, f64)>) {
    let mut order: Vec<&SimulatedRun> = runs.to_vec();
    order.sort_by(|a, b| a.end.total_cmp(&b.end));
    let mut curve = vec![[0.0, 1.0, 1.0, 1.0]];
    let (mut marks, mut survival, mut greenwood) = (Vec::new(), 1.0f64, 0.0f64);
    for (at, run) in order.iter().enumerate() {
        let at_risk = (order.len() - at) as f64;
        if run.ending != Ending::Crashed {
            if run.end < HORIZON {
                marks.push((run.end, survival));
            }
            continue;
        }
        survival *= 1.0 - 1.0 / at_risk;
        greenwood += 1.0 / (at_risk * (at_risk - 1.0).max(0.5));
        let half = 1.96 * greenwood.sqrt() / survival.ln().abs().max(1e-9);
        let bound = |sign: f64| survival.powf((sign * half).exp());
        curve.push([run.end, survival, bound(1.0), bound(-1.0)]);
    }
    let [_, survival, low, high] = curve[curve.len() - 1];
    curve.push([HORIZON, survival, low, high]);
    (curve, marks)
}
