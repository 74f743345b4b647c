//! Numbers printed in the thesis.

/// Table 4.2: hyper-parameters.
pub const HYPER_PARAMETERS: [(&str, &str); 4] =
    [("optimiser", "Adam"), ("epochs", "200"), ("drop probability", "0.5"), ("batch size", "50")];

/// Sequence lengths of Tables 4.1 and 4.3.
pub const LENGTHS: [usize; 4] = [1, 4, 7, 14];

/// Table 4.1: dimensions of a step of a 28×28 image.
pub const DIMENSIONS: [&str; 4] = ["28×28", "28×7", "28×4", "28×2"];

/// Table 4.3: variables of each cell by [`LENGTHS`].
pub const VARIABLES: [(&str, [usize; 4]); 4] = [
    ("shallow", [610_570, 355_722, 291_210, 248_202]),
    ("deep", [550_346, 314_954, 271_946, 243_274]),
    ("deepv2", [575_050, 306_890, 263_882, 235_210]),
    ("convdeep", [647_594, 283_178, 197_162, 197_162]),
];

/// Table 4.4: the accuracy that a network must reach before its heatmaps are evaluated.
pub fn criterion(set: &str) -> Option<f64> {
    match set {
        "mnist" => Some(0.98),
        "fashion-mnist" => Some(0.85),
        _ => None,
    }
}

/// Table 4.5: test accuracy on MNIST.
pub fn accuracy(set: &str, cell: &str, seq_len: usize) -> Option<f64> {
    match (set, cell, seq_len) {
        ("mnist", "shallow", 1) => Some(0.9813),
        ("mnist", "shallow", 4) => Some(0.9830),
        ("mnist", "shallow", 7) => Some(0.9807),
        ("mnist", "deep", 1) => Some(0.9788),
        ("mnist", "deep", 4) => Some(0.9861),
        ("mnist", "deep", 7) => Some(0.9852),
        _ => None,
    }
}

/// Share of each step, digit 1 of MNIST, T = 7: the values that the finished thesis prints for Figure 4.9. Its cells
/// were narrower and its dropout 0.2.
pub const SHARES_OF_ONES: [(&str, [f64; 7]); 3] = [
    ("shallow", [0.0, 0.0, 0.006, 0.054, 0.176, 0.330, 0.433]),
    ("deep", [0.009, 0.021, 0.069, 0.439, 0.295, 0.098, 0.069]),
    ("pixels", [0.0, 0.007, 0.113, 0.649, 0.214, 0.017, 0.0]),
];

/// Its share of each step for a cell, or for the pixels.
pub fn shares(set: &str, class: usize, seq_len: usize, of: &str) -> Option<[f64; 7]> {
    let known = set == "mnist" && class == 1 && seq_len == 7;
    SHARES_OF_ONES.iter().find(|(name, _)| known && *name == of).map(|&(_, shares)| shares)
}
