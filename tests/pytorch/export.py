"""Exports a PyTorch network and checks that `harness eval` computes its logits.

    python tests/pytorch/export.py target/release/harness

Needs torch, safetensors and numpy. Exits with status 1 if a logit differs by more than 1e-5 of the largest.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from network import Network


def check(harness, network, folder):
    """The largest difference of a logit, in shares of the largest logit."""
    task = network.task
    x = torch.empty(20, task["rows"], task["cols"]).uniform_(task["low"], task["high"])
    network.save(folder / "mine.safetensors")
    np.save(folder / "x.npy", x.numpy())
    command = [harness, "eval", "--model", "mine.safetensors", "--input", "x.npy", "--logits", "logits.npy", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    found = np.load(folder / "logits.npy")
    with torch.no_grad():
        want = network(x).numpy()
    again = Network.load(folder / "mine.safetensors")
    assert torch.equal(again(x), network(x)), "a model file that is read has other logits"
    return float(np.abs(found - want).max() / np.abs(want).max())


def main():
    harness = pathlib.Path(sys.argv[1]).resolve()
    torch.manual_seed(1)
    architectures = {
        "deep": {"encoder": [{"dense": 256}], "core": {"rnn": {"combine": 128, "recurrent": 256}}, "head": [32]},
        "shallow": {"encoder": [], "core": {"rnn": {"combine": 256, "recurrent": 256}}, "head": []},
    }
    worst = 0.0
    for name, architecture in architectures.items():
        for seq_len in (1, 7):
            with tempfile.TemporaryDirectory() as folder:
                difference = check(harness, Network(architecture, seq_len=seq_len), pathlib.Path(folder))
            print(f"{name}-{seq_len}: logits differ by {difference:.1e} of the largest")
            worst = max(worst, difference)
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()
