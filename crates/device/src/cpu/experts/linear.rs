//! Linear layers of experts.

use super::super::linear::LinearJobs;
use super::super::{Cpu, PackedActivations, expect};
use super::ExpertRoutes;
use crate::DeviceError;
use crate::backend::{ExpertOperand, ExpertProduct, ExpertWeights};

impl Cpu {
    /// Multiplies the slots of every expert with that expert's weights: all products in one fork
    /// and join, divided into parts of equal bytes. Reads the weights of the chosen experts only,
    /// and each of them once. Resizes the outputs to [slots, out_features]. With the weights of
    /// some experts only their slots are written.
    ///
    /// # Errors
    /// [`DeviceError::Shape`] and those of [`Cpu::linear`].
    pub fn expert_linear(
        &self,
        inputs: &PackedActivations,
        routes: &ExpertRoutes,
        products: &mut [ExpertProduct<'_, Cpu>],
    ) -> Result<(), DeviceError> {
        expect("experts: slots", routes.len(), inputs.tokens())?;
        expect("experts: groups of slots", routes.groups.len(), inputs.groups(self.set).count())?;
        let mut bytes = 0;
        for product in products.iter_mut() {
            expect("experts: weights", routes.experts, product.weights.experts())?;
            if let ExpertWeights::All { weights, biases } = &product.weights
                && !biases.is_empty()
            {
                expect("experts: biases", weights.len(), biases.len())?;
            }
            let mut rows = None;
            for operand in routes.groups.iter().filter_map(|g| product.weights.get(g.expert)) {
                let rows = *rows.get_or_insert(operand.weight.rows);
                expect("experts: rows of an expert's weights", rows, operand.weight.rows)?;
                bytes += operand.weight.bytes();
            }
            if let Some(rows) = rows {
                product.out.resize(routes.len() * rows);
            }
        }
        let count = routes.groups.len() * products.len();
        let mut jobs = LinearJobs::new(self, bytes, inputs.tokens(), count);
        let outputs: Vec<*mut f32> = products.iter_mut().map(|p| p.out.as_mut_ptr()).collect();
        for (group, view) in routes.groups.iter().zip(inputs.groups(self.set)) {
            expect("experts: slots of an expert", group.slots.len(), view.tokens())?;
            for (product, out) in products.iter().zip(&outputs) {
                let Some(operand) = product.weights.get(group.expert) else { continue };
                let ExpertOperand { weight, bias, .. } = operand;
                let out = out.wrapping_add(group.slots.start * weight.rows);
                // SAFETY: `out` is the place of the group's slots in the output, which has `rows`
                // elements for each of all slots; the groups' slots are disjoint.
                unsafe { jobs.push(view, weight, bias.map(Vec::as_slice), out)? };
            }
        }
        jobs.run()
    }
}
