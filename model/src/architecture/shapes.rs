//! The architecture of model files that hold none: its widths follow from the shapes of the tensors.

use super::{Architecture, Core, EncoderLayer};
use kernels::pool::PoolKind;

impl Architecture {
    /// The architecture of a model file without the key `architecture`, which has a preset's name and a kind
    /// of pool: the preset's layers with the widths of the tensors. If the name is not a preset's, the layers
    /// come from the tensors, too, with a pool after every convolution.
    ///
    /// `shape` gives the shape of the tensor of a name. If a tensor is missing, its layer keeps the preset's
    /// width, and [`Network::from_tensors`](crate::Network::from_tensors) reports the missing tensor.
    pub fn from_shapes<'a>(
        preset: &str,
        pool: PoolKind,
        shape: impl Fn(&str) -> Option<&'a [usize]>,
    ) -> Architecture {
        // Each of a layer's tensors has its width.
        let width = |layer: &str| {
            let last = |part: &str| shape(&format!("{layer}.{part}")).and_then(|shape| shape.last().copied());
            last("weight").or_else(|| last("bias"))
        };
        let known = Architecture::preset(preset).map(|preset| preset.with_pools(pool));
        let mut found = known.unwrap_or_else(|_| {
            let weights = (0..).map_while(|i| shape(&format!("encoder.{i}.weight")));
            let layers = weights.flat_map(|shape| match *shape {
                [size, _, _, channels] => {
                    vec![EncoderLayer::conv(size, channels), EncoderLayer::Pool(pool)]
                }
                _ => vec![EncoderLayer::Dense(shape.last().copied().unwrap_or(1))],
            });
            let heads = (0..).take_while(|i| shape(&format!("head.{i}.weight")).is_some()).count();
            Architecture {
                encoder: layers.collect(),
                core: Core::Rnn { combine: 1, recurrent: 1 },
                head: vec![1; heads.saturating_sub(1)],
            }
        });
        let with_parameters =
            found.encoder.iter_mut().filter(|layer| !matches!(layer, EncoderLayer::Pool(_)));
        for (i, layer) in with_parameters.enumerate() {
            let name = format!("encoder.{i}");
            let Some(found) = width(&name) else { continue };
            match layer {
                EncoderLayer::Dense(units) => *units = found,
                EncoderLayer::Conv { size, channels, .. } => {
                    *channels = found;
                    let first = shape(&format!("{name}.weight")).and_then(|shape| shape.first());
                    *size = first.copied().unwrap_or(*size);
                }
                EncoderLayer::Pool(_) => unreachable!("pools have been left out"),
            }
        }
        match &mut found.core {
            Core::Rnn { combine, recurrent } => {
                *combine = width("combine").unwrap_or(*combine);
                *recurrent = width("recurrent").unwrap_or(*recurrent);
            }
            Core::RLstm { cells } => *cells = width("candidate").unwrap_or(*cells),
        }
        for (i, units) in found.head.iter_mut().enumerate() {
            *units = width(&format!("head.{i}")).unwrap_or(*units);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_tensors_give_the_widths() {
        let shapes = [
            ("encoder.0.weight", vec![7, 7, 1, 4]),
            ("encoder.1.bias", vec![6]),
            ("combine.weight", vec![40, 12]),
            ("head.0.weight", vec![12, 5]),
            ("head.1.weight", vec![5, 3]),
        ];
        let shape = |name: &str| shapes.iter().find(|(n, _)| *n == name).map(|(_, shape)| &shape[..]);
        let found = Architecture::from_shapes("convdeep", PoolKind::Sum, shape);
        assert_eq!(found.name(), "conv7x4-sum-pool-conv3x6-sum-pool-rnn12:128-head5");
        let found = Architecture::from_shapes("mine", PoolKind::Max, shape);
        assert_eq!(found.name(), "conv7x4-max-pool-rnn12:1-head5");
    }
}
