"""Speed of this program and of the reference PyTorch programs for the draft's sixteen networks (batch 50): a training step
with Adam and dropout, and explaining by deep Taylor. Both run in turn, round by round.

    python benches/peers/draft.py target/release/harness FOLDER --threads 1 --rounds 3 > table.md

FOLDER has `torch_cells.py` (`Rnn(cell, T)`) and `torch_relevance.py` (`Net(cell, T, weights).relevance(x)`, `init`), which are
not part of this project; their results were compared with ours when the golden cases were made."""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from compare import BATCH, busy, cpu_name, ours, print_means, run, theirs

CELLS = ["shallow", "deep", "deepv2", "convdeep"]


def training(cell, steps):
    from torch_cells import Rnn
    network = Rnn(cell, steps).train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    x, labels = torch.rand(BATCH, 28, 28) * 2 - 1, torch.randint(10, (BATCH,))

    def step():
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), labels).backward()
        optimiser.step()
    return step


def explaining(cell, steps):
    from torch_relevance import Net, init
    network = Net(cell, steps, {name: value.float() for name, value in init(cell, steps, 1).items()})
    x = torch.rand(BATCH, 28, 28) * 2 - 1

    def explain():
        with torch.no_grad():
            network.relevance(x)
    return explain


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--seq-lens", default="1,4,7,14")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--by", choices=["least", "median"], default="least")
    args = parser.parse_args()
    sys.path.insert(0, str(args.folder.resolve()))
    harness = str(args.harness.resolve())
    torch.set_num_threads(args.threads)
    print(f"{cpu_name()}, {args.threads} thread(s), {time.strftime('%Y-%m-%d')}; {run(harness, '--version').strip()}, "
          f"PyTorch {torch.__version__} eager; {args.by} time of {args.steps} steps, {args.rounds} rounds in turn; "
          f"load {busy()} before\n")
    print("| network | training: ours, ms | PyTorch, ms | ratio | explaining: ours, ms | PyTorch, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    all_ratios = {"train": [], "explain": []}
    for cell in args.cells.split(","):
        for length in map(int, args.seq_lens.split(",")):
            row = [f"{cell}-{length}"]
            for what, make in (("train", training), ("explain", explaining)):
                torch.manual_seed(0)
                work = make(cell, length)
                network = f"--cell {cell} --seq-len {length}"
                rounds = [(ours(harness, network, what, args.threads, args.steps)[args.by], theirs(work, args.steps)[args.by])
                          for _ in range(args.rounds)]
                own, peer = (min(of) for of in zip(*rounds))
                all_ratios[what].append(peer / own)
                row += [f"{own:.2f}", f"{peer:.2f}", f"{peer / own:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
    print_means(all_ratios)


if __name__ == "__main__":
    main()
