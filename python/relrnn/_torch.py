"""Weights of PyTorch in the layout of model files. PyTorch itself is not imported."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ._inputs import Architecture, detached

#: Layers of which there may be several, in a list or an ``nn.Sequential``.
_NUMBERED = re.compile(r"(encoder|head)\.(\d+)")


def content_of_torch(
    state_dict: Any,
    architecture: Architecture,
    task: Mapping[str, int],
    rename: Mapping[str, str],
    channels_first: bool,
) -> Tuple[Dict[str, np.ndarray], int]:
    """The tensors of a model file, and the number of classes."""
    state = state_dict.state_dict() if hasattr(state_dict, "state_dict") else state_dict
    found: Dict[str, Dict[str, np.ndarray]] = {}
    for key, tensor in state.items():
        layer, _, part = str(key).rpartition(".")
        found.setdefault(rename.get(layer, layer), {})[part] = np.asarray(detached(tensor))
    found = _counted(found)
    tensors: Dict[str, np.ndarray] = {}
    for layer, parts in found.items():
        if "weight" in parts and "bias" not in parts:
            parts["bias"] = np.zeros(len(parts["weight"]), np.float32)
        for part, array in parts.items():
            tensors[f"{layer}.{part}" if layer else part] = _laid_out(array)
    if channels_first:
        for name, shape in _readers_of_a_convolution(architecture, task):
            if name in tensors:
                tensors[name] = _channels_last(tensors[name], shape)
    heads = sorted((layer for layer in found if layer.startswith("head.")), key=lambda layer: (len(layer), layer))
    classes = len(found[heads[-1]]["bias"]) if heads and "bias" in found[heads[-1]] else 1
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}, classes


def _counted(found: Dict[str, Dict[str, np.ndarray]]) -> Dict[str, Dict[str, np.ndarray]]:
    """Numbers the layers of encoder and head in their order, from 0."""
    names = {layer: layer for layer in found}
    for group in ("encoder", "head"):
        numbered = [match for match in map(_NUMBERED.fullmatch, found) if match and match[1] == group]
        for i, match in enumerate(sorted(numbered, key=lambda match: int(match[2]))):
            names[match[0]] = f"{group}.{i}"
    return {names[layer]: parts for layer, parts in found.items()}


def _laid_out(array: np.ndarray) -> np.ndarray:
    """``[out, in]`` as ``[in, out]``, OIHW as HWIO."""
    if array.ndim == 2:
        return array.T
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _readers_of_a_convolution(
    architecture: Architecture, task: Mapping[str, int]
) -> List[Tuple[str, Tuple[int, int, int]]]:
    """The dense weights that read a convolution's output, and its channels, rows and columns."""
    rows, cols, channels, layers = task["rows"], task["cols"] // task["seq_len"], 0, 0
    for layer in architecture["encoder"]:
        if "dense" in layer:
            return [(f"encoder.{layers}.weight", (channels, rows, cols))] if channels else []
        if "conv" in layer:
            channels, layers = int(layer["conv"]["channels"]), layers + 1
        else:
            rows, cols = -(-rows // 2), -(-cols // 2)
    core = ("combine",) if "rnn" in architecture["core"] else ("gates", "candidate")
    return [(f"{layer}.weight", (channels, rows, cols)) for layer in core] if channels else []


def _channels_last(weight: np.ndarray, shape: Tuple[int, int, int]) -> np.ndarray:
    """Rows in the order channel, row, column as row, column, channel; those of recurrent inputs behind them stay."""
    channels, rows, cols = shape
    inputs = channels * rows * cols
    if weight.ndim != 2 or len(weight) < inputs:
        return weight
    images = weight[:inputs].reshape(channels, rows, cols, -1).transpose(1, 2, 0, 3).reshape(inputs, -1)
    return np.concatenate([images, weight[inputs:]])
