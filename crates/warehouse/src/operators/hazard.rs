//! Operators that crash with a known hazard: controls of the study's analysis.

use super::Operator;
use super::beliefs::Beliefs;
use super::careful::careful_turn;
use super::simple::LoopingOperator;
use crate::random::RandomStream;
use crate::turn::Turn;
use crate::world::World;

/// Plays as the careful operator until it crashes, and from then on checks the inbox in every step.
/// The hazard of crashing in a step is `hazard * exp(beta * exposure)`, with the exposure after the
/// step before.
pub(super) struct HazardOperator {
    draws: RandomStream,
    hazard: f64,
    beta: f64,
    step: u64,
    crashed: bool,
}

impl HazardOperator {
    pub fn new(seed: u64, hazard: f64, beta: f64) -> HazardOperator {
        let draws = RandomStream::new(seed, "hazard");
        HazardOperator { draws, hazard, beta, step: 0, crashed: false }
    }
}

impl Operator for HazardOperator {
    fn act(&mut self, world: &World) -> Turn {
        self.step += 1;
        let hazard = self.hazard * (self.beta * world.exposure().total()).exp();
        self.crashed |= self.draws.unit(&[self.step]) < -(-hazard).exp_m1();
        match self.crashed {
            true => LoopingOperator.act(world),
            false => careful_turn(world, &Beliefs::default()),
        }
    }
}
