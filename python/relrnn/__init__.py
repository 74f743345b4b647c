"""Recurrent relu networks that explain their decisions: training and layer-wise relevance propagation (LRP).

>>> import relrnn
>>> data = relrnn.datasets.synth()
>>> network = relrnn.Network("deep", seq_len=7)
>>> history = network.train(data.x_train, data.y_train, epochs=2)
>>> explanation = network.explain(data.x_test[:8])
>>> explanation.relevance.shape
(8, 28, 28)

Results have the bits of the program ``harness`` of the same repository; they depend neither on the number of threads nor on the CPU.
"""

from . import datasets, quantus
from ._explanation import Explanation, Ledger
from ._inputs import Majority, architecture, maj, presets
from ._native import __version__, kernel_set, set_threads, threads
from ._network import History, Network

__all__ = [
    "Explanation",
    "History",
    "Ledger",
    "Majority",
    "Network",
    "__version__",
    "architecture",
    "datasets",
    "kernel_set",
    "maj",
    "presets",
    "quantus",
    "set_threads",
    "threads",
]
