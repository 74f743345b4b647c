"""Scores heatmaps of `harness explain` with Quantus.

    harness explain --model runs/deep-7 --dataset mnist --samples 100 --out maps.npz
    python tests/pytorch/quantus_scores.py runs/deep-7/best.safetensors maps.npz

Needs torch, safetensors, numpy and quantus (tried with 0.6.0). The names and axes of the arrays in the .npz are those of Quantus.
"""

import sys

import numpy as np
import quantus
from network import Network


def main():
    network = Network.load(sys.argv[1])
    maps = np.load(sys.argv[2])
    batch = {"x_batch": maps["x_batch"], "y_batch": maps["y_batch"], "a_batch": maps["a_batch"]}
    # The network that Quantus perturbs is the one that was explained.
    logits = quantus.helpers.utils.get_wrapped_model(network, channel_first=True, softmax=False).predict(batch["x_batch"])
    explained = logits[np.arange(len(logits)), batch["y_batch"]]
    assert np.allclose(explained, maps["logit"], rtol=1e-4, atol=1e-3), "another network than the one that was explained"
    shared = {"disable_warnings": True, "display_progressbar": False}
    low = network.task["low"]
    metrics = {
        "pixel flipping, mean probability along the curve": quantus.PixelFlipping(
            features_in_step=28, perturb_baseline=low, normalise=False, abs=False, **shared
        ),
        "sparseness": quantus.Sparseness(**shared),
        "complexity": quantus.Complexity(**shared),
    }
    for name, metric in metrics.items():
        scores = np.array(metric(model=network, device="cpu", softmax=True, channel_first=True, **batch), dtype=float)
        scores = scores.reshape(len(scores), -1).mean(axis=1)
        print(f"{name}: {scores.mean():.4f} ± {scores.std():.4f} over {len(scores)} heatmaps")


if __name__ == "__main__":
    main()
