"""Speed of this program and of PyTorch on the ten cells of the finished thesis (MAJ, T = 12, batch 50): training with
Adam and dropout, and explaining by deep Taylor. Both run in turn, round by round.

    python benches/peers/compare.py target/release/harness --threads 1 --rounds 3 > table.md
    python benches/peers/compare.py target/release/harness --check

A network of PyTorch must first compute what ours does: it loads a model file of each cell, and logits and heatmaps of
random images must agree to 1e-5 and 1e-4 of the largest."""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cells import CELLS, Training, load
from deep_taylor import DeepTaylor

BATCH = 50
COUNTS = {"final-shallow": 184330, "final-deep": 153578, "final-deepv2": 161386, "final-convdeep": 151802,
          "r-lstm": 145914, "convr-lstm": 152410, "convplus-deep": 175418, "convplus-r-lstm": 176026}


def run(harness, *words):
    return subprocess.run([harness, *words, "--quiet"], check=True, capture_output=True, text=True).stdout


def model_file(harness, cell, folder):
    """A model of the cell after a few steps on synthetic digits."""
    out = folder / cell
    data = folder / "data"
    if not data.exists():
        run(harness, "data", "synth", "--out", str(data / "synth"), "--train", "300", "--test", "60")
        run(harness, "data", "maj", "--from", str(data / "synth"), "--out", str(data / "synth-maj"))
    options = "--seq-len 12 --dataset synth-maj --epochs 1 --batch 50 --lr 1e-3 --dropout-profile final"
    more = "--initial-values final --zero-logit --threads 1"
    run(harness, "train", "--cell", cell, "--data-dir", str(data), "--out", str(out), *options.split(), *more.split())
    return out / "last.safetensors"


def close(what, found, expected, tolerance):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{what} differ by {error:.1e} of the largest; {tolerance:.0e} allowed"
    return error


def networks(harness, cells, folder):
    """The networks of PyTorch, each compared with ours."""
    found = {}
    for cell in cells:
        path = model_file(harness, cell, folder)
        network = load(path, stationary=cell.endswith("-sd"))
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == COUNTS[cell.removesuffix("-sd")], f"{cell}: {count} parameters"
        x = np.random.default_rng(1).uniform(-1, 1, (BATCH, 28, 84)).astype(np.float32)
        np.save(folder / "x.npy", x)
        source = ["--model", str(path), "--input", str(folder / "x.npy"), "--threads", "1"]
        run(harness, "eval", *source, "--logits", str(folder / "h.npy"), "--overwrite")
        run(harness, "explain", *source, "--method", "deep-taylor", "--out", str(folder / "r.npy"), "--overwrite")
        with torch.no_grad():
            logits = network(torch.from_numpy(x)).numpy()
        maps = DeepTaylor(network).explain(torch.from_numpy(x))[0].numpy()
        errors = close(f"{cell}: logits", logits, np.load(folder / "h.npy"), 1e-5), close(
            f"{cell}: heatmaps", maps, np.load(folder / "r.npy")[:, 0], 1e-4)
        print(f"{cell}: {count} parameters; logits agree to {errors[0]:.0e}, heatmaps to {errors[1]:.0e}", flush=True)
        found[cell] = network
    return found


def cpu_seconds(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def ours(harness, network, what, threads, steps):
    """Milliseconds of a step: least and median on the clock, and of the CPU, from two runs of different length. `network`
    is the words that say which one."""
    words = f"profile {network} --what {what} --threads {threads} --json --steps".split()
    used, result = [], None
    for count in (2, 2 + steps):
        before = cpu_seconds(resource.RUSAGE_CHILDREN)
        result = json.loads(run(harness, *words, str(count)))["ms_per_step"]
        used.append(cpu_seconds(resource.RUSAGE_CHILDREN) - before)
    # Before the measured steps as many are run to warm up, at most 20.
    more = steps + min(2 + steps, 20) - 2
    return {"least": result["min"], "median": result["median"], "cpu": 1e3 * (used[1] - used[0]) / more}


def theirs(work, steps):
    clock, before = [], None
    for step in range(2 + steps):
        before = cpu_seconds(resource.RUSAGE_SELF) if step == 2 else before
        start = time.perf_counter()
        work()
        clock.append(time.perf_counter() - start)
    used = cpu_seconds(resource.RUSAGE_SELF) - before
    return {"least": 1e3 * min(clock[2:]), "median": 1e3 * statistics.median(clock[2:]), "cpu": 1e3 * used / steps}


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def busy():
    """Other processes that wanted to run in the last minute."""
    return f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} CPUs"


def print_means(all_ratios):
    """The last row of the table, and how busy the machine was."""
    means = [math.exp(statistics.mean(map(math.log, ratios))) for ratios in all_ratios.values()]
    print(f"| geometric mean | | | {means[0]:.2f} | | | {means[1]:.2f} |")
    print(f"\nload {busy()} after")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=Path)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--by", choices=["least", "median", "cpu"], default="least",
                        help="time that is compared: least or median on the clock, or CPU time, for a busy machine")
    parser.add_argument("--check", action="store_true", help="only compare the numbers, not the speed")
    args = parser.parse_args()
    harness, cells = str(args.harness.resolve()), args.cells.split(",")
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = networks(harness, cells, Path(folder))
    if args.check:
        return
    version = run(harness, "--version").strip()
    print(f"\n{cpu_name()}, {args.threads} thread(s), {time.strftime('%Y-%m-%d')}; {version}, PyTorch {torch.__version__} eager; "
          f"{args.by} time of a step of {args.steps}, {args.rounds} rounds in turn; load {busy()} before\n")
    print("| cell | training: ours, ms | PyTorch, ms | ratio (of the rounds) | explaining: ours, ms | PyTorch, ms | ratio (of the rounds) |")
    print("|---|---|---|---|---|---|---|")
    all_ratios = {"train": [], "explain": []}
    for cell in cells:
        network = found[cell]
        x, labels = torch.rand(BATCH, 28, 84) * 2 - 1, torch.randint(10, (BATCH,))
        row = [cell]
        for what in all_ratios:
            training, explaining = Training(network), DeepTaylor(network)
            work = (lambda: training.step(x, labels)) if what == "train" else (lambda: explaining.explain(x))
            network.train(what == "train")
            rounds = [(ours(harness, f"--cell {cell} --task maj", what, args.threads, args.steps), theirs(work, args.steps))
                      for _ in range(args.rounds)]
            ratios = [peer[args.by] / own[args.by] for own, peer in rounds]
            combine = min if args.by == "least" else statistics.median
            own, peer = (combine(of[i][args.by] for of in rounds) for i in range(2))
            all_ratios[what].append(peer / own)
            row += [f"{own:.2f}", f"{peer:.2f}", f"{peer / own:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"]
        print("| " + " | ".join(row) + " |", flush=True)
    print_means(all_ratios)


if __name__ == "__main__":
    main()
