//! The dropout masks of one pass.

use crate::dropout::DropoutPolicy;
use kernels::Dropout;

/// The position of a layer with a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaskPlace {
    /// After a dense layer of the encoder.
    Encoder,
    /// Behind the encoder's last layer, if it is dense: where the core reads it.
    Encoded,
    /// On what the core reads: its recurrent input, or an encoder's output that no other mask is on.
    Combine,
    /// On the core's output where its recurrent layer reads it.
    Recurrent,
    /// On the output of an LSTM where its next step reads it.
    Hidden,
    /// On the last output of an LSTM, which the head reads.
    LastHidden,
    /// In front of the head: on the core's last output.
    Head,
}

/// The mask of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    pub place: MaskPlace,
    /// Index of the stage; that of the core follows those of the encoder.
    pub layer: usize,
}

/// The dropout of one pass. A mask is a function of the seed, the layer and the unit's index in the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    pub policy: DropoutPolicy,
    pub seed: u64,
}

impl Masks {
    /// Nothing is dropped.
    pub const NONE: Masks = Masks { policy: DropoutPolicy::NONE, seed: 0 };

    fn has(&self, mask: Mask) -> bool {
        let DropoutPolicy { rate, encoder, combine, recurrent, head, stationary: _ } = self.policy;
        let place = match mask.place {
            MaskPlace::Encoder => encoder,
            MaskPlace::Encoded => encoder || combine,
            MaskPlace::Combine => combine,
            MaskPlace::Recurrent => recurrent,
            MaskPlace::Hidden => combine || recurrent,
            // `recurrent` means the output wherever it is read, but for a policy that masks the core's inputs.
            MaskPlace::LastHidden => head || (recurrent && !combine),
            MaskPlace::Head => head,
        };
        place && rate > 0.0
    }

    /// The dropout after a layer with this mask.
    pub fn dropout(&self, mask: Option<Mask>) -> Option<Dropout> {
        let mask = mask.filter(|&mask| self.has(mask))?;
        let seed = self.seed ^ (mask.layer as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some(Dropout::new(self.policy.rate, seed.wrapping_mul(0xD6E8_FEB8_6659_FD93)))
    }

    /// The dropout behind a layer with that mask on `floats` values, which are those of so many steps.
    pub fn dropout_over_steps(&self, mask: Option<Mask>, floats: usize, steps: usize) -> Option<Dropout> {
        let dropout = self.dropout(mask)?;
        Some(if self.policy.stationary { dropout.repeating(floats / steps) } else { dropout })
    }

    /// The number by which the masks of step `t` differ from those of other steps.
    pub fn step(&self, t: usize) -> usize {
        if self.policy.stationary { 0 } else { t }
    }

    /// `1 / (1 − rate)` behind a layer that drops, else 1.
    pub fn scale(&self, mask: Option<Mask>) -> f32 {
        self.dropout(mask).map_or(1.0, |dropout| dropout.scale())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_that_of_its_layer_and_step_and_only_where_the_policy_says() {
        let masks =
            Masks { policy: DropoutPolicy { rate: 0.5, encoder: true, ..DropoutPolicy::NONE }, seed: 7 };
        let mask = |place, layer| Some(Mask { place, layer });
        let seed = |masks: Masks, layer| masks.dropout(mask(MaskPlace::Encoder, layer)).unwrap().seed;
        assert_eq!(masks.dropout(mask(MaskPlace::Head, 1)), None);
        assert_eq!(masks.dropout(None), None);
        assert_eq!(
            (masks.scale(mask(MaskPlace::Encoder, 0)), masks.scale(mask(MaskPlace::Head, 0))),
            (2.0, 1.0)
        );
        assert_ne!(seed(masks, 0), seed(masks, 1));
        assert_ne!(seed(masks, 0), seed(Masks { seed: 8, ..masks }, 0));
        assert_eq!(seed(masks, 0), 0xC84F_2F95_02A5_0856, "the masks of a seed must never change");
    }
}
