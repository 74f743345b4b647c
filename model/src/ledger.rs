//! What becomes of relevance on its way to the pixels, layer by layer and row by row.

/// The ledger entries of every layer with parameters, in the order of the parameters. A pool counts with the convolution in
/// front of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    layers: Vec<Entry>,
}

/// One layer, for each row `t·N + n`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The relevance that stabilisers absorb.
    pub absorbed: Vec<f64>,
    /// The sum of the negative relevance of the layer's inputs.
    pub negative: Vec<f64>,
}

impl Ledger {
    /// A ledger of so many layers with room for so many rows.
    pub fn new(layers: usize, rows: usize) -> Ledger {
        let entry = Entry { absorbed: vec![0.0; rows], negative: vec![0.0; rows] };
        Ledger { layers: vec![entry; layers] }
    }

    /// Starts an explanation.
    pub fn clear(&mut self) {
        for Entry { absorbed, negative } in &mut self.layers {
            absorbed.fill(0.0);
            negative.fill(0.0);
        }
    }

    /// The entry of a layer.
    pub fn layer(&mut self, layer: usize) -> &mut Entry {
        &mut self.layers[layer]
    }

    /// All layers.
    pub fn layers(&self) -> &[Entry] {
        &self.layers
    }
}

impl Entry {
    /// Adds the negative relevance of inputs of `width` floats a row, from row `first` on.
    pub fn add_negative(&mut self, first: usize, width: usize, relevance: &[f32]) {
        let rows = relevance.chunks_exact(width.max(1));
        self.negative[first..].iter_mut().zip(rows).for_each(|(sum, row)| *sum += negative(row));
    }
}

/// The sum of the negative values, over lanes that the compiler keeps in registers.
fn negative(row: &[f32]) -> f64 {
    let mut lanes = [0.0f32; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += if x < 0.0 { x } else { 0.0 };
        }
    }
    let lanes: f64 = lanes.iter().map(|&x| f64::from(x)).sum();
    lanes + rest.iter().map(|&x| f64::from(x.min(0.0))).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_relevance_is_added_to_the_row_it_belongs_to() {
        let mut ledger = Ledger::new(2, 3);
        let values: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        ledger.layer(1).add_negative(1, 20, &values);
        ledger.layer(1).add_negative(2, 2, &[-0.5, -0.25]);
        assert_eq!(ledger.layers()[1].negative, [0.0, -10.0, -10.75]);
        assert_eq!(ledger.layers()[0].negative, [0.0; 3]);
        ledger.clear();
        assert_eq!(ledger.layers()[1].negative, [0.0; 3]);
    }
}
