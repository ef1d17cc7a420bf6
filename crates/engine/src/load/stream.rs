//! The disk tier: blocks stay in the checkpoint's own files and are read ahead of use, two buffers
//! at a time.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use checkpoint::{Dtype, ModelConfig, TensorEntry};
use device::cpu::Cpu;
use device::memory::Arena;
use watch::Watch;

use super::LoadError;
use super::pieces::{Wanted, room};
use super::read::{Filled, Readers, read};
use super::source::Source;
use super::tensors::Tensors;
use crate::compute::{Compute, Placed};
use crate::layers::Linear;
use crate::models::{Block, ForwardError};

/// How long a pass waits for one block. The supervisor's stall limit is shorter: this one is for
/// callers without a supervisor.
const ARRIVAL_LIMIT_S: u64 = 600;

/// A module that is read for every pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    Block(usize),
    Head,
}

/// What a module is made of, and as what it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub item: Item,
    pub tensors: Vec<(TensorEntry, Dtype)>,
}

/// A module that has arrived; dropped after use, so that its buffer is free again.
enum Arrived {
    Block(usize, Box<Block<Cpu>>),
    Head(Linear<Cpu>),
}

/// What the reading thread needs.
pub(crate) struct Stream {
    pub source: Arc<Source>,
    pub config: ModelConfig,
    /// In the order of a pass.
    pub recipes: Vec<Recipe>,
    pub cpu: Cpu,
    pub threads: usize,
    pub watch: Watch,
}

/// The reading end's other side: hands out modules in the order of a pass, over and over.
pub(crate) struct Streamer {
    arrivals: Mutex<Receiver<Result<Arrived, LoadError>>>,
}

impl Streamer {
    /// Starts the thread that reads. It reads one module while another is in use, and the next
    /// pass's first after the last.
    pub fn start(stream: Stream) -> Result<Self, LoadError> {
        // No room in the channel: one module waits in the thread's hands, one is in use. That is
        // what the plan counts.
        let (sender, receiver) = sync_channel(0);
        let started =
            std::thread::Builder::new().name("disk tier".into()).spawn(move || stream.run(&sender));
        // The thread is not waited for: it ends when this side is dropped, and one that is stuck in
        // a read must not hold us.
        started.map_err(|cause| LoadError::Thread { what: "disk tier", cause })?;
        Ok(Streamer { arrivals: Mutex::new(receiver) })
    }

    /// The weights of block `layer`.
    pub fn block(&self, layer: usize) -> Result<Box<Block<Cpu>>, ForwardError> {
        loop {
            // Modules that an earlier pass did not use (it failed, or wanted no logits) are passed
            // over.
            if let Arrived::Block(arrived, block) = self.next(&format!("block {layer}"))?
                && arrived == layer
            {
                return Ok(block);
            }
        }
    }

    /// The weights of the head.
    pub fn head(&self) -> Result<Linear<Cpu>, ForwardError> {
        loop {
            if let Arrived::Head(head) = self.next("the head")? {
                return Ok(head);
            }
        }
    }

    fn next(&self, item: &str) -> Result<Arrived, ForwardError> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        match arrivals.recv_timeout(Duration::from_secs(ARRIVAL_LIMIT_S)) {
            Ok(arrived) => arrived.map_err(|cause| ForwardError::Disk(Box::new(cause))),
            Err(RecvTimeoutError::Timeout) => {
                Err(ForwardError::DiskTimeout { item: item.to_owned(), limit_s: ARRIVAL_LIMIT_S })
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(ForwardError::Disk(Box::new(LoadError::Defect {
                    what: "the disk tier's reader".to_owned(),
                })))
            }
        }
    }
}

impl Stream {
    fn run(&self, sender: &SyncSender<Result<Arrived, LoadError>>) {
        for recipe in self.recipes.iter().cycle() {
            let arrived = self.bring(recipe);
            let failed = arrived.is_err();
            // Nobody waits any more, or somebody was told why nothing more will come.
            if sender.send(arrived).is_err() || failed {
                return;
            }
        }
    }

    fn bring(&self, recipe: &Recipe) -> Result<Arrived, LoadError> {
        let wanted_bytes = |(entry, dtype): &(TensorEntry, Dtype)| room(entry, *dtype);
        let bytes: usize = recipe.tensors.iter().map(wanted_bytes).sum();
        let arena = Arena::new(bytes).map_err(|cause| LoadError::Device {
            what: "a buffer of the disk tier".into(),
            cause,
        })?;
        let wanted: Vec<Wanted> = recipe
            .tensors
            .iter()
            .map(|(entry, dtype)| Wanted { entry, dtype: *dtype, arena: Placed::Host(&arena) })
            .collect();
        let readers = Readers {
            cpu: &self.cpu,
            source: &self.source,
            watch: &self.watch,
            threads: self.threads,
            name: "disk tier",
            gpus: None,
        };
        let Filled { host: tensors, .. } = read(&readers, &wanted)?;
        match recipe.item {
            Item::Block(layer) => {
                Ok(Arrived::Block(layer, Box::new(Block::new(&tensors, &self.config, layer)?)))
            }
            Item::Head => Ok(Arrived::Head(head(&tensors, &self.config)?)),
        }
    }
}

/// The product that makes logits; a tied head is the embedding itself.
pub(crate) fn head<C: Compute>(
    tensors: &Tensors<C>,
    config: &ModelConfig,
) -> Result<Linear<C>, LoadError> {
    let name = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
    Linear::new(
        &tensors.under(""),
        name,
        config.vocab_size,
        config.hidden_size,
        config.lm_head_bias,
    )
}

/// Recipes by the modules' order in a pass.
pub(crate) fn in_order(recipes: BTreeMap<Item, Vec<(TensorEntry, Dtype)>>) -> Vec<Recipe> {
    recipes.into_iter().map(|(item, tensors)| Recipe { item, tensors }).collect()
}
