"""Bad inputs: an exception with one line that names the argument, and nothing is changed."""

import numpy as np
import pytest

import relrnn

X = np.zeros((3, 28, 28), np.float32)
Y = np.array([0, 1, 2])


def with_pixel(value):
    x = X.copy()
    x[1, 2, 3] = value
    return x


IMAGES = [
    (np.zeros((3, 28, 28), np.int64), "dtype int64"),
    (np.zeros((3, 28, 28), complex), "dtype complex"),
    (np.zeros((3, 28, 28), bool), "dtype bool"),
    ([["a"]], "dtype"),
    (None, "dtype object"),
    (np.zeros((3, 28, 27), np.float32), "[3, 28, 27]"),
    (np.zeros((3, 2, 28, 28), np.float32), "[3, 2, 28, 28]"),
    (np.zeros((3, 784), np.float32), "[1, 3, 784]"),
    (np.zeros(784, np.float32), "[784]"),
    (np.zeros((0, 28, 28), np.float32), "at least one image"),
    (with_pixel(np.nan), "NaN"),
    (with_pixel(np.inf), "inf"),
    (with_pixel(1.5), "scale the images"),
    (with_pixel(-1.01), "scale the images"),
    (np.full((3, 28, 28), 200.0), "2*a/255-1"),
]


@pytest.mark.parametrize("x, word", IMAGES, ids=[word for _, word in IMAGES])
def test_images(network, x, word):
    for call in [network.predict, network.explain, lambda x: network.train(x, Y), lambda x: network.evaluate(x, Y)]:
        refused(call, word, x)


LABELS = [
    (np.array([0.0, 1.0, 2.0]), "dtype float64"),
    (np.array([0, 1]), "2 labels for 3 images"),
    (np.array([0, 1, 10]), "y[2] is 10"),
    (np.array([0, -1, 2]), "y[1] is -1"),
    (np.array([[0], [1], [2]]), "[3, 1]"),
    (np.array([0, 1, 2**63], np.uint64), "9223372036854775808"),
    (["a", "b", "c"], "dtype"),
]


@pytest.mark.parametrize("y, word", LABELS, ids=[word for _, word in LABELS])
def test_labels(network, y, word):
    refused(network.train, word, X, y)
    refused(network.evaluate, word, X, y)


EXPLAIN = [
    ({"method": "magic"}, "method magic"),
    ({"first": "z-plus"}, "z-plus"),
    ({"middle": "z-beta"}, "z-beta"),
    ({"last": "magic"}, "last magic"),
    ({"rules": {"firstt": "flat"}}, "firstt"),
    ({"rules": {"first": "magic"}}, "magic"),
    ({"rules": {"middle": "flat"}, "method": "sensitivity"}, "no rules"),
    ({"rules": "/does/not/exist.toml"}, "exist.toml"),
    ({"method": "lrp", "alpha": 3.0, "beta": 1.0}, "alpha 3"),
    ({"alpha": 3.0}, "alpha 3"),
    ({"epsilon": -1.0}, "epsilon -1"),
    ({"epsilon": float("nan")}, "epsilon is nan"),
    ({"gamma": "much"}, "gamma is 'much'"),
    ({"target": 10}, "target is 10"),
    ({"target": -1}, "target is -1"),
    ({"target": "best"}, "target is best"),
    ({"target": [0, 1]}, "2 labels for 3 images"),
    ({"target": [0, 1, 10]}, "target[2] is 10"),
    ({"target": 1.5}, "dtype float64"),
    ({"value": "odds"}, "odds"),
    ({"convention": "innvestigate"}, "convention innvestigate"),
    ({"convention": "captum"}, "z-beta"),
    ({"value": np.zeros((3, 9))}, "[3, 9]"),
    ({"value": np.full((3, 10), np.nan)}, "row 0"),
    ({"value": np.zeros(10)}, "[10]"),
]


@pytest.mark.parametrize("arguments, word", EXPLAIN, ids=[word for _, word in EXPLAIN])
def test_explanations(network, arguments, word):
    expected = OSError if "rules" in arguments and isinstance(arguments["rules"], str) else ValueError
    refused(lambda: network.explain(X, **arguments), word, kind=expected)


TRAIN = [
    ({"epochs": 0}, "epochs is 0"),
    ({"epochs": 1.5}, "epochs is 1.5"),
    ({"batch": 0}, "batch is 0"),
    ({"batch": -1}, "batch is -1"),
    ({"lr": 0.0}, "lr is 0"),
    ({"lr": float("inf")}, "lr is inf"),
    ({"seed": -1}, "seed is -1"),
    ({"dropout": 1.0}, "dropout is 1"),
    ({"dropout_profile": "magic"}, "magic"),
    ({"optimiser": "newton"}, "newton"),
    ({"momentum": 2.0, "optimiser": "sgd"}, "momentum is 2"),
    ({"validation": (X, Y[:2])}, "validation y has 2 labels"),
    ({"validation": (X[:, :5], Y)}, "validation x has shape"),
]


@pytest.mark.parametrize("arguments, word", TRAIN, ids=[word for _, word in TRAIN])
def test_trainings(network, arguments, word):
    before = network.predict(X).tobytes()
    refused(lambda: network.train(X, Y, progress=False, **arguments), word)
    assert network.predict(X).tobytes() == before


NETWORKS = [
    ({"architecture": "lstm"}, "lstm"),
    ({"architecture": {"encoder": []}}, "architecture"),
    ({"architecture": {"encoder": [{"pool": "max"}], "core": {"r-lstm": {"cells": 3}}, "head": []}}, "pool"),
    ({"architecture": {"encoder": [], "core": {"r-lstm": {"cells": 0}}, "head": []}}, "0"),
    ({"seq_len": 5}, "does not divide"),
    ({"seq_len": 0}, "seq_len is 0"),
    ({"rows": -1}, "rows is -1"),
    ({"classes": 300}, "300"),
    ({"low": 0.5}, "low"),
    ({"high": float("nan")}, "high is nan"),
    ({"initial_values": "zeros"}, "zeros"),
    ({"seed": 2**64}, "seed is"),
]


@pytest.mark.parametrize("arguments, word", NETWORKS, ids=[word for _, word in NETWORKS])
def test_networks(arguments, word):
    refused(lambda: relrnn.Network(**arguments), word)


def test_files(tmp_path, network):
    refused(relrnn.Network.load, "no.safetensors", tmp_path / "no.safetensors", kind=FileNotFoundError)
    (tmp_path / "text.safetensors").write_text("not a model")
    refused(relrnn.Network.load, "text.safetensors", tmp_path / "text.safetensors")
    refused(network.save, "nowhere", tmp_path / "nowhere" / "m.safetensors", kind=OSError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.safetensors"]
    refused(relrnn.Network.load, "PathLike", 3, kind=TypeError)


def test_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RELEVANCE_DATA_DIR", raising=False)
    refused(relrnn.datasets.mnist, "mnist", tmp_path, kind=FileNotFoundError)
    refused(relrnn.datasets.open, "..", "../x", kind=(ValueError, OSError))
    refused(relrnn.datasets.synth, "train is 0", 0)
    refused(relrnn.maj, "[3, 784]", np.zeros((3, 784)), Y)
    refused(relrnn.maj, "second class", X, np.array([4, 4, 4]))
    refused(relrnn.maj, "y[0] is 256", X, np.array([256, 0, 1]))


def test_a_value_that_becomes_infinite_ends_the_training(data):
    network = relrnn.Network("shallow", seq_len=4)
    before = network.predict(data.x_test).tobytes()
    refused(lambda: network.train(data.x_train, data.y_train, lr=1e38, optimiser="sgd", progress=False), "smaller lr")
    assert network.predict(data.x_test).tobytes() == before


def refused(call, word, *args, kind=ValueError):
    with pytest.raises(kind) as raised:
        call(*args)
    text = str(raised.value)
    assert word in text and "\n" not in text and "--" not in text, text
