"""Metrics of Quantus on our explanations."""

import copy

import numpy as np
import pytest

import relrnn


def test_explain_func_has_the_signature_of_quantus(network, floats, data):
    inputs = floats[:, None]
    found = relrnn.quantus.explain_func(network, inputs, data.y_test, method="lrp", value="logit", device="cpu")
    assert found.shape == inputs.shape
    expected = network.explain(inputs, "lrp", target=data.y_test, value="logit").relevance
    assert found.tobytes() == expected.tobytes()
    # Perturbed images leave the range of the pixels.
    assert np.isfinite(relrnn.quantus.explain_func(network, inputs + 0.5, data.y_test)).all()
    with pytest.raises(ValueError, match="must be a relrnn.Network"):
        relrnn.quantus.explain_func(object(), inputs, data.y_test)


def test_metrics_of_quantus_run_and_tell_relevance_from_noise(network, floats, data):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed: pip install quantus")
    network = copy.deepcopy(network)
    network.train(data.x_train, data.y_train, epochs=15, lr=2e-3, dropout=0.0, progress=False)
    x, y = floats[:, None], network.predict(floats).argmax(1)
    model = relrnn.quantus.module(network)
    ours = {"explain_func": relrnn.quantus.explain_func, "explain_func_kwargs": {"value": "logit"}}
    quiet = {"disable_warnings": True, "display_progressbar": False}

    flipping = quantus.PixelFlipping(features_in_step=56, perturb_baseline="black", **quiet)
    noise = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    found = np.mean(flipping(model=model, x_batch=x, y_batch=y, device="cpu", **ours))
    random = np.mean(flipping(model=model, x_batch=x, y_batch=y, a_batch=noise, device="cpu"))
    assert np.isfinite(found) and found < random

    sparse = quantus.Sparseness(**quiet)(model=model, x_batch=x, y_batch=y, device="cpu", **ours)
    assert len(sparse) == len(x) and 0 < np.mean(sparse) < 1
    stable = quantus.MaxSensitivity(nr_samples=3, lower_bound=0.02, **quiet)(
        model=model, x_batch=x[:5], y_batch=y[:5], device="cpu", **ours
    )
    assert len(stable) == 5 and np.isfinite(stable).all()
