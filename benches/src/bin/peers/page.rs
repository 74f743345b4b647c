//! The output for people: the JSON as tables.

use crate::report::{Column, table};
use benches::BATCH;
use serde_json::Value;

const SIZES: [Column; 4] = [("form", "form", 0), ("m", "M", 0), ("n", "N", 0), ("k", "K", 0)];

const SPEED: [Column; 5] = [
    ("peak", "peak", 0),
    ("ours", "ours", 0),
    ("percent", "% of peak", 1),
    ("spread", "± %", 0),
    ("times_one_thread", "× one thread", 2),
];

const RULE: [Column; 4] = [("rule", "rule", 0), ("n", "N", 0), ("j", "J", 0), ("k", "K", 0)];

const MICROSECONDS: Column = ("microseconds", "µs", 0);

const BY_HAND: [Column; 5] = [
    ("products", "products by hand", 0),
    ("by_hand_microseconds", "µs by hand", 0),
    ("ratio", "by hand / ours", 2),
    ("by_hand_kept_microseconds", "µs, W± kept", 0),
    ("ratio_kept", "W± kept / ours", 2),
];

const LAYER: [Column; 3] = [("layer", "layer", 0), ("image", "image", 0), ("pass", "pass", 0)];

/// The whole page.
pub fn text(all: &Value) -> String {
    let figure = |key: &str| all[key].as_str().map_or_else(|| all[key].to_string(), str::to_owned);
    let rows = |columns: &[&[Column]], key: &str| {
        table(&columns.concat(), all[key].as_array().map_or(&[], Vec::as_slice))
    };
    let libraries: Vec<&str> =
        all["libraries"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let peers: Vec<Column> =
        ["gemm", "matrixmultiply"].into_iter().chain(libraries).map(|name| (name, name, 0)).collect();
    format!(
        "\
{cpu}, kernels {kernels}, threads {threads}, busy neighbours {busy}, tuning {tuning}
Peers: gemm {gemm}; matrixmultiply {mm}
{statistic} of {rounds} interleaved rounds in GFLOP/s, unless it says µs. The peak is that of fused multiply-adds on
registers alone, in the same rounds, on all threads together. ±: half of our samples are this near to their median.

Products: X·W is NN, Xᵀ·dY TN, dY·Wᵀ NT. Ours are over W and Wᵀ packed once per version of the weights, outside
the clock; peers get row-major operands, or transposed views of them, and pack at each call.
{products}
geometric mean of ours / best peer: {mean:.3}

Relevance: ours against the same rule by hand, with plain products of ours. By hand W⁺ and W⁻ are materialised in
each call, or kept from call to call, and what stands between the products runs on one thread. Ours has them
packed once per version of the weights, and z^β the forward product too. FLOP are those of ours.
{relevance}

Convolutions: {BATCH} images, SAME; forward with bias and relu.
{conv}

Peers in the place of our products: speed by that of the same library called directly, on one thread.
{swapped}
geometric mean: {swapped_mean:.3}

Products on AMX: time of our f32 product by that of the same product on AMX, on one thread.
{amx}
geometric means over X·W, Xᵀ·dY: {amx_means}

{noise}",
        cpu = figure("cpu"),
        kernels = figure("kernels"),
        threads = figure("threads"),
        busy = figure("busy"),
        gemm = figure("gemm"),
        mm = figure("matrixmultiply"),
        rounds = figure("rounds"),
        statistic = figure("statistic"),
        tuning = figure("tuning"),
        products = rows(&[&SIZES, &SPEED, &peers, &[("ratio", "ours / best peer", 2)]], "products"),
        mean = all["geometric_mean"].as_f64().unwrap_or(f64::NAN),
        relevance = rows(&[&RULE, &SPEED, &[MICROSECONDS], &BY_HAND], "relevance"),
        conv = rows(&[&LAYER, &SPEED, &[MICROSECONDS]], "conv"),
        swapped = rows(&[&SIZES, &[("gemm", "gemm", 2), ("matrixmultiply", "matrixmultiply", 2)]], "swapped"),
        swapped_mean = all["swapped_mean"].as_f64().unwrap_or(f64::NAN),
        noise = figure("noise"),
        amx = rows(&[&SIZES, &[("amx", "amx", 2), ("amx_exact", "amx-exact", 2)]], "amx"),
        amx_means = amx_means(&all["amx_means"]),
    )
}

/// The means of both kernel sets, or that there are none.
fn amx_means(of: &Value) -> String {
    let mean = |form: usize, set: usize| of[form][set].as_f64().unwrap_or_default();
    if mean(0, 0) > 0.0 {
        format!("amx {:.2}, {:.2}; amx-exact {:.2}, {:.2}", mean(0, 0), mean(1, 0), mean(0, 1), mean(1, 1))
    } else {
        "not measured here".to_owned()
    }
}
