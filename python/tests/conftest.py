"""What the tests share. ``RELRNN_HARNESS`` names the program that results are compared with."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

import relrnn

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def harness():
    """Runs the program ``harness``."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    named = os.environ.get("RELRNN_HARNESS")
    built = [target / profile / "harness" for profile in ("release", "debug")]
    built = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    if named is None and not built:
        pytest.skip("no program to compare with: cargo build --release -p harness, or set RELRNN_HARNESS")
    program = named or built[-1]

    def run(*args):
        return subprocess.run([program, *map(str, args)], check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture(scope="session")
def data():
    return relrnn.datasets.synth(train=240, test=40, seed=5)


@pytest.fixture(scope="session")
def network(data):
    """A small network that has learnt a little."""
    found = relrnn.Network(relrnn.architecture("deep", encoder="48", core="rnn:40:24", head="20"), seq_len=4)
    found.train(data.x_train, data.y_train, epochs=3, lr=2e-3, dropout=0.0, progress=False)
    return found


@pytest.fixture(scope="session")
def floats(data):
    """Test images in the range of the network."""
    return (data.x_test.astype(np.float32) * 2.0) / np.float32(255) - np.float32(1)
