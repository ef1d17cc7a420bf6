//! What a pass writes to on each device, and the way of the residual stream between them.

use device::DeviceError;
use device::cpu::{Cpu, Precision};
use device::cuda::{Card, CardBuffer, PassShape};

use crate::compute::{CardRows, CardSite, Compute, Route, Site, Sites, card_deadline};
use crate::layers::{Buffers, Widths};

/// Buffers of all devices of a model.
pub(crate) struct Work {
    pub host: Buffers<Cpu>,
    /// As [`Sites::cards`].
    pub cards: Vec<CardWork>,
}

/// Buffers on one card.
pub(crate) struct CardWork {
    pub buffers: Buffers<Card>,
    /// `[logits_rows_max, vocab]` on the card of the head; empty on others.
    pub logits: CardBuffer<f32>,
    pub rows: CardRows,
}

/// What crosses from device to device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The residual stream, `[rows, hidden]`.
    Residual,
    /// Those of its rows whose logits are wanted.
    Gathered,
    /// The same after the final norm.
    Normed,
}

/// How large the buffers are.
pub(crate) struct WorkSizes {
    pub widths: Widths,
    /// The largest pass.
    pub rows: PassShape,
    /// Numbers of its logits.
    pub logits: usize,
    pub precision: Precision,
}

impl CardWork {
    fn new(
        site: &CardSite,
        route: &Route,
        place: usize,
        sizes: &WorkSizes,
    ) -> Result<Self, DeviceError> {
        let at = Site::Card(place);
        let widths = route.widths(at, sizes.widths);
        let logits = if route.head == at { sizes.logits } else { 0 };
        let forms = Card::forms(sizes.precision, route.dtypes(at));
        Ok(CardWork {
            buffers: Buffers::new(&site.card, widths, sizes.rows.tokens, forms)?,
            logits: site.card.buffer(logits)?,
            rows: CardRows::new(&site.card, sizes.rows)?,
        })
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        let CardWork { buffers, logits, rows } = self;
        buffers.bytes() + Card::buffer_bytes(logits) + rows.bytes()
    }
}

impl<C: Compute> Buffers<C> {
    fn stream(&mut self, stream: Stream) -> &mut C::Buffer {
        match stream {
            Stream::Residual => &mut self.x,
            Stream::Gathered => &mut self.mixed,
            Stream::Normed => &mut self.normed,
        }
    }
}

impl Work {
    /// Buffers on each device for what it computes.
    pub fn new(sites: &Sites, route: &Route, sizes: &WorkSizes) -> Result<Self, DeviceError> {
        let card = |(place, site)| CardWork::new(site, route, place, sizes);
        let (widths, forms) =
            (route.widths(Site::Host, sizes.widths), Cpu::forms(sizes.precision, []));
        Ok(Work {
            host: Buffers::new(&sites.cpu, widths, sizes.rows.tokens, forms)?,
            cards: sites.cards.iter().enumerate().map(card).collect::<Result<_, _>>()?,
        })
    }

    /// Copies the first `numbers` of a buffer from one device to another.
    pub fn carry(
        &mut self,
        sites: &Sites,
        stream: Stream,
        (from, to): (Site, Site),
        numbers: usize,
    ) -> Result<(), DeviceError> {
        match (from, to) {
            (Site::Host, Site::Card(to)) => {
                let (host, card) =
                    (self.host.stream(stream), self.cards[to].buffers.stream(stream));
                let _waits = sites.cards[to].waiting("hidden states from the host");
                card.resize(numbers)?;
                card.upload(0, &host[..numbers], card_deadline())?;
            }
            (Site::Card(from), Site::Host) => {
                let (card, host) =
                    (self.cards[from].buffers.stream(stream), self.host.stream(stream));
                if host.len() < numbers {
                    host.resize(numbers, 0.0);
                }
                let _waits = sites.cards[from].waiting("hidden states to the host");
                card.download(0..numbers, &mut host[..numbers], card_deadline())?;
            }
            (Site::Card(a), Site::Card(b)) if a != b => {
                self.cross(sites, stream, (a, b), numbers)?
            }
            _ => {}
        }
        Ok(())
    }

    fn cross(
        &mut self,
        sites: &Sites,
        stream: Stream,
        (from, to): (usize, usize),
        numbers: usize,
    ) -> Result<(), DeviceError> {
        let (Some(link), Ok([source, target])) =
            (sites.link(from, to), self.cards.get_disjoint_mut([from, to]))
        else {
            return Err(DeviceError::Index {
                what: "card of a model",
                index: from.max(to),
                len: sites.cards.len(),
            });
        };
        let (source, target) = (source.buffers.stream(stream), target.buffers.stream(stream));
        let _waits =
            sites.cards[to].waiting(&format!("hidden states from GPU {}", sites.cards[from].gpu));
        target.resize(numbers)?;
        Ok(link.copy(source, 0..numbers, target, 0, card_deadline())?)
    }
}
