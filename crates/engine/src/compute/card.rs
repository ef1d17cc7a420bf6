//! A card: each operation is queued on its stream of kernels, in the order in which it is called.

use std::ops::Range;
use std::sync::Arc;

use checkpoint::{Activation, Dtype};
use device::DeviceError;
use device::cpu::Precision;
use device::cuda::{
    Card, CardAttentionOptions, CardBuffer, CardBytes, CardFeed, CardForms, CardIndices,
    CardInputs, CardMatrix, CardPass, CardProduct, CardRopeTable, KvLayer, PassShape,
};

use super::{Compute, Feed, Heads, HostRows, Product, card_deadline};
use crate::load::tensors::Stored;

/// A weight on a card.
#[derive(Clone, Debug)]
pub(crate) enum CardData {
    Matrix(CardBytes),
    /// As f32.
    Vector(Arc<CardBuffer<f32>>),
}

/// What a pass's rows are, on a card. Set once a pass.
pub(crate) struct CardRows {
    tokens: CardIndices,
    /// Rows whose logits are wanted.
    wanted: CardIndices,
    pass: CardPass,
}

impl CardRows {
    /// Room for passes of this shape.
    pub fn new(card: &Card, shape: PassShape) -> Result<Self, DeviceError> {
        let (tokens, wanted) =
            (CardIndices::new(card, shape.tokens)?, CardIndices::new(card, shape.tokens)?);
        Ok(CardRows { tokens, wanted, pass: CardPass::new(card, shape)? })
    }

    /// Copies a pass's rows to the card.
    pub fn set(&mut self, rows: &HostRows) -> Result<(), DeviceError> {
        let wanted: Vec<u32> = rows.wanted.iter().map(|&row| row as u32).collect();
        self.tokens.set(rows.tokens, card_deadline())?;
        self.wanted.set(&wanted, card_deadline())?;
        self.pass.begin(rows.sequences, card_deadline())
    }

    /// Bytes taken for passes of this shape.
    pub fn bytes(&self) -> u64 {
        let shape = self.pass.shape();
        (CardPass::bytes(shape) + 2 * shape.tokens * size_of::<u32>()) as u64
    }
}

impl Compute for Card {
    type Bytes = CardData;
    type Matrix = CardMatrix;
    type Vector = Arc<CardBuffer<f32>>;
    type Buffer = CardBuffer<f32>;
    type Forms = CardForms;
    type Inputs = CardInputs;
    type Kv = KvLayer;
    type Rope = CardRopeTable;
    type Rows<'a> = &'a mut CardRows;

    fn matrix(
        stored: &Stored<Self>,
        cols: usize,
        part: Range<usize>,
    ) -> Result<CardMatrix, DeviceError> {
        let CardData::Matrix(data) = &stored.data else {
            return Err(DeviceError::Shape {
                what: "dimensions of a matrix on a card",
                expected: 2,
                found: 1,
            });
        };
        let rows = stored.shape.first().copied().unwrap_or(0);
        CardMatrix::new(stored.dtype, rows, cols, data.clone())?.rows_from(part.start, part.len())
    }

    fn vector(stored: &Stored<Self>) -> Result<Arc<CardBuffer<f32>>, DeviceError> {
        match &stored.data {
            CardData::Vector(numbers) => Ok(numbers.clone()),
            CardData::Matrix(_) => Err(DeviceError::Shape {
                what: "dimensions of a vector on a card",
                expected: 1,
                found: 2,
            }),
        }
    }

    fn buffer(&self, numbers: usize) -> Result<CardBuffer<f32>, DeviceError> {
        Ok(CardBuffer::new(self, numbers)?)
    }

    fn forms(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> CardForms {
        CardForms::for_weights(precision, dtypes)
    }

    fn inputs(
        &self,
        rows_max: usize,
        cols_max: usize,
        forms: CardForms,
    ) -> Result<CardInputs, DeviceError> {
        let numbers = CardInputs::numbers(rows_max, cols_max);
        let room = |wanted: bool| if wanted { numbers } else { 0 };
        CardInputs::new(self, room(forms.is_exact()), room(forms.is_rounded()))
    }

    fn buffer_bytes(buffer: &CardBuffer<f32>) -> u64 {
        4 * buffer.capacity() as u64
    }

    fn inputs_bytes(inputs: &CardInputs) -> u64 {
        inputs.capacity_bytes() as u64
    }

    fn prepare(
        &self,
        inputs: &mut CardInputs,
        x: &CardBuffer<f32>,
        rows: usize,
        cols: usize,
        forms: CardForms,
    ) -> Result<(), DeviceError> {
        inputs.prepare(self, x, rows, cols, forms)
    }

    fn linear<const N: usize>(
        &self,
        inputs: &CardInputs,
        mut products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError> {
        for product in &mut products {
            product.out.resize(inputs.tokens() * product.weight.rows)?;
        }
        let mut products = products.map(|Product { weight, bias, out }| {
            let bias = bias.map(Arc::as_ref);
            CardProduct { weight, bias, out }
        });
        Card::linear(self, inputs, &mut products)
    }

    fn rms_norm(
        &self,
        x: &CardBuffer<f32>,
        numbers: usize,
        weight: &Arc<CardBuffer<f32>>,
        eps: f32,
        out: &mut CardBuffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Card::rms_norm(self, x, weight, eps, out, feed.map(on_card))
    }

    fn add_rms_norm(
        &self,
        (x, y): (&mut CardBuffer<f32>, &CardBuffer<f32>),
        numbers: usize,
        weight: &Arc<CardBuffer<f32>>,
        eps: f32,
        out: &mut CardBuffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Card::add_rms_norm(self, x, y, weight, eps, out, feed.map(on_card))
    }

    fn rms_norm_inplace(
        &self,
        x: &mut CardBuffer<f32>,
        _: usize,
        weight: &Arc<CardBuffer<f32>>,
        eps: f32,
    ) -> Result<(), DeviceError> {
        Card::rms_norm_inplace(self, x, weight, eps)
    }

    fn layer_norm(
        &self,
        x: &CardBuffer<f32>,
        numbers: usize,
        (weight, bias): (&Arc<CardBuffer<f32>>, Option<&Arc<CardBuffer<f32>>>),
        eps: f32,
        out: &mut CardBuffer<f32>,
        feed: Option<Feed<Self>>,
    ) -> Result<(), DeviceError> {
        out.resize(numbers)?;
        Card::layer_norm(self, x, weight, bias.map(Arc::as_ref), eps, out, feed.map(on_card))
    }

    fn rope(
        &self,
        x: [(&mut CardBuffer<f32>, usize); 2],
        head_dim: usize,
        rows: &&mut CardRows,
        table: &CardRopeTable,
    ) -> Result<(), DeviceError> {
        Card::rope(self, x.map(|(x, _)| x), head_dim, &rows.pass, table)
    }

    fn activate(
        &self,
        activation: Activation,
        x: &mut CardBuffer<f32>,
        _: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let feed = Some(on_card(feed));
        match activation {
            Activation::Silu => self.silu(x, feed),
            Activation::Gelu => self.gelu(x, feed),
            Activation::GeluTanh => self.gelu_tanh(x, feed),
        }
    }

    fn activate_and_multiply(
        &self,
        activation: Activation,
        gate: &mut CardBuffer<f32>,
        up: &CardBuffer<f32>,
        _: usize,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let feed = Some(on_card(feed));
        match activation {
            Activation::Silu => self.silu_mul(gate, up, feed),
            Activation::Gelu => self.gelu_mul(gate, up, feed),
            Activation::GeluTanh => self.gelu_tanh_mul(gate, up, feed),
        }
    }

    fn add(
        &self,
        x: &mut CardBuffer<f32>,
        y: &CardBuffer<f32>,
        _: usize,
    ) -> Result<(), DeviceError> {
        Card::add(self, x, y)
    }

    fn gather(
        &self,
        x: &CardBuffer<f32>,
        width: usize,
        rows: &&mut CardRows,
        out: &mut CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(rows.wanted.len() * width)?;
        self.gather_rows(x, width, &rows.wanted, out)
    }

    fn embed(
        &self,
        table: &CardMatrix,
        rows: &&mut CardRows,
        out: &mut CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        out.resize(rows.tokens.len() * table.cols)?;
        Card::embed(self, table, &rows.tokens, out)
    }

    fn write_kv(
        &self,
        kv: &mut KvLayer,
        rows: &&mut CardRows,
        k: &CardBuffer<f32>,
        v: &CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        Card::write_kv(self, kv, &rows.pass, k, v)
    }

    fn attention(
        &self,
        kv: &KvLayer,
        rows: &mut &mut CardRows,
        heads: &Heads,
        q: &CardBuffer<f32>,
        out: &mut CardBuffer<f32>,
        feed: Feed<Self>,
    ) -> Result<(), DeviceError> {
        let Heads { count, scale, window } = *heads;
        out.resize(rows.pass.tokens() * count * kv.shape().value_dim)?;
        let options = CardAttentionOptions { heads: count, scale, window, sinks: None };
        Card::attention(self, kv, &mut rows.pass, &options, q, out, Some(on_card(feed)))
    }
}

fn on_card(Feed { inputs, rows, cols, forms }: Feed<'_, Card>) -> CardFeed<'_> {
    CardFeed { inputs, tokens: rows, cols, forms }
}
