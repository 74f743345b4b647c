//! The dropout masks of one pass.

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
    pub rate: f32,
    /// Whether dense layers of the encoder have dropout.
    pub encoder: bool,
    /// Whether the inputs of the core drop.
    pub combine: bool,
    /// Whether the input of the core's recurrent layer drops.
    pub recurrent: bool,
    /// Whether the core's last output drops.
    pub head: bool,
    /// Whether a sample has the same mask at every step.
    pub stationary: bool,
    pub seed: u64,
}

impl Masks {
    /// Nothing is dropped.
    pub const NONE: Masks = Masks {
        rate: 0.0,
        encoder: false,
        combine: false,
        recurrent: false,
        head: false,
        stationary: false,
        seed: 0,
    };

    fn has(&self, mask: Mask) -> bool {
        let place = match mask.place {
            MaskPlace::Encoder => self.encoder,
            MaskPlace::Encoded => self.encoder || self.combine,
            MaskPlace::Combine => self.combine,
            MaskPlace::Recurrent => self.recurrent,
            MaskPlace::Hidden => self.combine || self.recurrent,
            // `recurrent` means the output wherever it is read, but for a policy that masks the core's inputs.
            MaskPlace::LastHidden => self.head || (self.recurrent && !self.combine),
            MaskPlace::Head => self.head,
        };
        place && self.rate > 0.0
    }

    /// The dropout after a layer with this mask.
    pub fn dropout(&self, mask: Option<Mask>) -> Option<Dropout> {
        let mask = mask.filter(|&mask| self.has(mask))?;
        let seed = self.seed ^ (mask.layer as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some(Dropout::new(self.rate, seed.wrapping_mul(0xD6E8_FEB8_6659_FD93)))
    }

    /// The dropout behind a layer with that mask on `floats` values, which are those of so many steps.
    pub fn dropout_over_steps(&self, mask: Option<Mask>, floats: usize, steps: usize) -> Option<Dropout> {
        let dropout = self.dropout(mask)?;
        Some(if self.stationary { dropout.repeating(floats / steps) } else { dropout })
    }

    /// The number by which the masks of step `t` differ from those of other steps.
    pub fn step(&self, t: usize) -> usize {
        if self.stationary { 0 } else { t }
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
        let masks = Masks { rate: 0.5, encoder: true, seed: 7, ..Masks::NONE };
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
