//! Activations, softmax cross-entropy, dropout and optimisers.

/// `softplus(b) = ln(1 + e^b)`, without overflow.
pub fn softplus(b: f64) -> f64 {
    b.max(0.0) + (-b.abs()).exp().ln_1p()
}

/// `σ(b) = 1 / (1 + e^−b)`, the derivative of softplus.
pub fn sigmoid(b: f64) -> f64 {
    1.0 / (1.0 + (-b).exp())
}

/// Cross-entropy of one sample in a batch of `n`: the loss `−ln softmax(h)[label]`, and the gradient
/// `(softmax(h) − 1{label}) / n`. With a zero logit the softmax sees one more logit, which is 0.
pub fn cross_entropy(logits: &[f32], label: usize, n: usize, zero_logit: bool) -> (f64, Vec<f64>) {
    let zero = if zero_logit { 1.0 } else { 0.0 };
    let sum: f64 = zero + logits.iter().map(|&h| f64::from(h).exp()).sum::<f64>();
    let p = |class: usize| f64::from(logits[class]).exp() / sum;
    let one = |class: usize| if class == label { 1.0 } else { 0.0 };
    let gradient = (0..logits.len()).map(|class| (p(class) - one(class)) / n as f64).collect();
    (sum.ln() - f64::from(logits[label]), gradient)
}

/// Inverted dropout with probability `p`: the probability that a unit is kept, and its factor then. Their
/// product, the expected factor, is 1.
pub fn dropout(p: f64) -> (f64, f64) {
    (1.0 - p, 1.0 / (1.0 - p))
}

/// One parameter after Adam steps with these gradients (Kingma & Ba, algorithm 1).
pub fn adam(lr: f64, gradients: &[f64], mut param: f64) -> f64 {
    let (beta1, beta2, eps) = (0.9f64, 0.999f64, 1e-8);
    let (mut m, mut v) = (0.0, 0.0);
    for (t, g) in (1..).zip(gradients) {
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
        param -= lr * m_hat / (v_hat.sqrt() + eps);
    }
    param
}

/// One parameter after steps of SGD with momentum: `m ← μm + g`, `p ← p − lr·m`.
pub fn sgd(lr: f64, momentum: f64, gradients: &[f64], mut param: f64) -> f64 {
    let mut m = 0.0;
    for g in gradients {
        m = momentum * m + g;
        param -= lr * m;
    }
    param
}
