"""The package gives the bits of the program."""

import json

import numpy as np
import pytest

import relrnn

EXPLAINED = [
    ({}, ["--value", "centred"]),
    ({"value": "logit", "target": 3}, ["--target", "3"]),
    ({"value": "runner-up"}, ["--value", "runner-up"]),
    ({"value": "contrast", "target": "all"}, ["--value", "contrast", "--target", "all"]),
    (
        {"method": "lrp", "alpha": 3.0, "value": "centred", "target": "all"},
        ["--method", "lrp", "--alpha", "3", "--value", "centred", "--target", "all"],
    ),
    (
        {"method": "epsilon-plus", "first": "w-square", "epsilon": 0.01, "value": "logit"},
        ["--method", "epsilon-plus", "--first", "w-square", "--epsilon", "0.01"],
    ),
    (
        {"rules": {"convolution": "flat", "middle": "gamma"}, "gamma": 0.5, "value": "logit"},
        ["--rules", "rules.toml", "--gamma", "0.5"],
    ),
    ({"method": "lrp", "convention": "zennit"}, ["--method", "lrp", "--convention", "zennit"]),
    ({"method": "guided-backprop", "value": "logit"}, ["--method", "guided-backprop"]),
]


@pytest.mark.parametrize("architecture", ["48/rnn:40:24", "conv3x5,max-pool,20/r-lstm:12"])
@pytest.mark.parametrize("arguments, options", EXPLAINED, ids=lambda part: " ".join(part) or None if isinstance(part, list) else "")
def test_explanations_are_those_of_the_program(harness, tmp_path, monkeypatch, floats, architecture, arguments, options):
    monkeypatch.chdir(tmp_path)
    encoder, core = architecture.split("/")
    network = relrnn.Network(relrnn.architecture("deep", encoder=encoder, core=core, head="16"), seq_len=4, seed=9)
    network.save("m.safetensors")
    np.save("x.npy", floats)
    (tmp_path / "rules.toml").write_text('convolution = "flat"\nmiddle = "gamma"\n')
    harness("explain", "--model", "m.safetensors", "--input", "x.npy", "--out", "r.npy", *options)
    expected = np.load("r.npy")
    found = network.explain(floats, **arguments)
    assert found.relevance.tobytes() == expected.tobytes()
    assert np.abs(expected).max() > 0
    if isinstance(arguments.get("rules"), dict):
        again = network.explain(floats, **{**arguments, "rules": tmp_path / "rules.toml"})
        assert again.relevance.tobytes() == expected.tobytes()


def test_logits_are_those_of_the_program_for_floats_and_bytes(harness, tmp_path, network, data, floats):
    network.save(tmp_path / "m.safetensors")
    for name, x in [("floats", floats), ("bytes", data.x_test)]:
        np.save(tmp_path / f"{name}.npy", x)
        out = tmp_path / f"{name}-logits.npy"
        harness("eval", "--model", tmp_path / "m.safetensors", "--input", tmp_path / f"{name}.npy", "--logits", out)
        assert network.predict(x).tobytes() == np.load(out).tobytes()
    assert network.predict(floats).tobytes() == network.predict(data.x_test).tobytes()


@pytest.mark.parametrize(
    "cell, shape, arguments, options",
    [
        ("deep", {}, {}, []),
        ("shallow", {"low": 0.0}, {"optimiser": "sgd", "momentum": 0.5}, ["--optimiser", "sgd", "--momentum", "0.5", "--input-range", "0,1"]),
        (
            "r-lstm",
            {"initial_values": "final"},
            {"dropout_profile": "final", "dropout": 0.3, "zero_logit": True},
            ["--dropout-profile", "final", "--dropout", "0.3", "--zero-logit", "--initial-values", "final"],
        ),
    ],
)
def test_training_is_that_of_the_program(harness, tmp_path, data, cell, shape, arguments, options):
    harness("data", "synth", "--seed", 5, "--train", 240, "--test", 40, "--out", tmp_path / "synth")
    run = tmp_path / "run"
    common = ["--cell", cell, "--seq-len", 4, "--seed", 3, "--epochs", 2, "--batch", 32, "--lr", 1e-3, "--validation", 40]
    harness("train", "--dataset", "synth", "--data-dir", tmp_path, "--out", run, "--quiet", *common, *options)
    network = relrnn.Network(cell, seq_len=4, seed=3, **shape)
    held_out = data.x_train[200:], data.y_train[200:]
    history = network.train(
        data.x_train[:200], data.y_train[:200], epochs=2, lr=1e-3, batch=32, seed=3, validation=held_out, progress=False, **arguments
    )
    network.save(tmp_path / "last.safetensors")
    assert (tmp_path / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()
    outcome = json.loads((run / "run.json").read_text())["outcome"]
    assert history.validation_accuracy[-1] == outcome["validation-accuracy" if "validation-accuracy" in outcome else "validation_accuracy"]


def test_data_sets_are_those_of_the_program(harness, tmp_path, data):
    harness("data", "synth", "--seed", 5, "--train", 240, "--test", 40, "--out", tmp_path / "synth")
    harness("data", "maj", "--from", tmp_path / "synth", "--seed", 7, "--out", tmp_path / "synth-maj")
    written = relrnn.datasets.open("synth", tmp_path)
    for ours, theirs in zip(data[:4], written[:4]):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    composed = relrnn.datasets.open("synth-maj", tmp_path)
    for test, half in [(False, "train"), (True, "test")]:
        x, y = getattr(data, f"x_{half}"), getattr(data, f"y_{half}")
        ours = relrnn.maj(x, y, seed=7, test=test)
        assert np.array_equal(ours.x, getattr(composed, f"x_{half}")) and np.array_equal(ours.y, y)
        assert np.array_equal(ours.mask, getattr(composed, f"mask_{half}"))
        assert (ours.mask.sum(1) == 2).all()
        assert np.array_equal(y[ours.sources] == y[:, None], ours.mask)
