//! [`DiskStream`]: the disk tier. Layers stay in the checkpoint's files; a thread reads the next
//! layer while the current one is computed (double buffering).

use base::unpoisoned;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::ModelConfig;
use device::cpu::Cpu;
use device::memory::Arena;
use watch::Watch;

use super::LoadError;
use super::chunks::{TensorRequest, host_capacity};
use super::plan::{StreamedModule, StreamedTensor};
use super::read::{LoadedTensors, Readers, read};
use crate::devices::OnDevice;
use crate::layers::Linear;
use crate::models::{ForwardError, LayerSource, TransformerLayer, lm_head};
use crate::weights::OpenShards;

/// The weights of a streamed module. Dropped after use, which frees their buffer.
enum StreamedWeights {
    Layer(usize, Box<TransformerLayer<Cpu>>),
    LmHead(Linear<Cpu>),
}

/// The state of the reading thread.
pub(crate) struct DiskReader {
    pub shards: Arc<OpenShards>,
    pub config: ModelConfig,
    /// In the order of a forward pass.
    pub modules: Vec<(StreamedModule, Vec<StreamedTensor>)>,
    pub cpu: Cpu,
    pub threads: usize,
    pub watch: Watch,
}

/// The receiving end of a [`DiskReader`]'s thread. It supplies the modules in the order of a
/// forward pass and starts again after the last one.
pub(crate) struct DiskStream {
    arrivals: Mutex<Receiver<Result<StreamedWeights, LoadError>>>,
    /// Limit on a forward pass's wait for one module.
    limit: Duration,
}

impl DiskStream {
    /// Starts the reading thread. The thread reads one module ahead; after the last module it reads
    /// the first one again, for the next pass.
    pub fn start(reader: DiskReader, limit: Duration) -> Result<Self, LoadError> {
        // The channel has no capacity: one module waits in the reading thread while the forward
        // pass uses another. The planner counts these two buffers.
        let (sender, receiver) = sync_channel(0);
        let started =
            std::thread::Builder::new().name("disk tier".into()).spawn(move || reader.run(&sender));
        // The thread is not joined: it ends when the receiver is dropped, and a thread that hangs
        // in a read must not block the caller.
        started.map_err(|cause| LoadError::Thread { what: "disk tier", cause })?;
        Ok(DiskStream { arrivals: Mutex::new(receiver), limit })
    }

    fn next(&self, module: &str) -> Result<StreamedWeights, ForwardError> {
        let arrivals = unpoisoned(self.arrivals.lock());
        match arrivals.recv_timeout(self.limit) {
            Ok(weights) => weights.map_err(ForwardError::disk),
            Err(RecvTimeoutError::Timeout) => Err(ForwardError::DiskTimeout {
                module: module.to_owned(),
                limit_s: self.limit.as_secs(),
            }),
            Err(RecvTimeoutError::Disconnected) => {
                let cause = LoadError::Defect { what: "the disk tier's reader".to_owned() };
                Err(ForwardError::disk(cause))
            }
        }
    }
}

impl LayerSource for DiskStream {
    fn layer(&self, layer: usize) -> Result<Box<TransformerLayer<Cpu>>, ForwardError> {
        loop {
            // Skips modules that an earlier pass did not use because it failed or requested no
            // logits.
            if let StreamedWeights::Layer(found, weights) = self.next(&format!("layer {layer}"))?
                && found == layer
            {
                return Ok(weights);
            }
        }
    }

    fn lm_head(&self) -> Result<Linear<Cpu>, ForwardError> {
        loop {
            if let StreamedWeights::LmHead(weights) = self.next("the lm_head")? {
                return Ok(weights);
            }
        }
    }
}

impl DiskReader {
    fn run(&self, sender: &SyncSender<Result<StreamedWeights, LoadError>>) {
        for (module, tensors) in self.modules.iter().cycle() {
            let weights = self.read(*module, tensors);
            let failed = weights.is_err();
            // Ends when the receiver was dropped, or after an error was sent.
            if sender.send(weights).is_err() || failed {
                return;
            }
        }
    }

    fn read(
        &self,
        module: StreamedModule,
        tensors: &[StreamedTensor],
    ) -> Result<StreamedWeights, LoadError> {
        let bytes = tensors.iter().map(|(entry, dtype)| host_capacity(entry, *dtype)).sum();
        let arena = Arena::new(bytes)
            .map_err(|cause| LoadError::device("a buffer of the disk tier", cause))?;
        let requests: Vec<TensorRequest> = tensors
            .iter()
            .map(|(entry, dtype)| TensorRequest {
                entry,
                dtype: *dtype,
                arena: OnDevice::Cpu(&arena),
            })
            .collect();
        let readers = Readers {
            cpu: &self.cpu,
            shards: &self.shards,
            watch: &self.watch,
            threads: self.threads,
            name: "disk tier",
            gpus: None,
        };
        let LoadedTensors { host, .. } = read(&readers, &requests)?;
        Ok(match module {
            StreamedModule::Layer(layer) => {
                let weights = TransformerLayer::new(&host, &self.config, layer)?;
                StreamedWeights::Layer(layer, Box::new(weights))
            }
            StreamedModule::LmHead => StreamedWeights::LmHead(lm_head(&host, &self.config)?),
        })
    }
}
