"""Explanations for the metrics of Quantus.

>>> import quantus
>>> model = relrnn.quantus.module(network)
>>> metric = quantus.PixelFlipping(features_in_step=28, disable_warnings=True)
>>> scores = metric(model=model, x_batch=x, y_batch=y, explain_func=relrnn.quantus.explain_func,
...                 explain_func_kwargs={"method": "lrp"})

Both clip images to the range of the network's pixels, which some perturbations of Quantus leave.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._inputs import detached, images
from ._network import Network

__all__ = ["explain_func", "module"]


def _clipped(network: Network, inputs: Any) -> np.ndarray:
    array = np.asarray(detached(inputs))
    if array.dtype == np.uint8:
        return array
    array = images("inputs", array)
    if array.ndim == 3 and array.shape[1] != network.rows:
        array = array[:, None]
    clipped: np.ndarray = np.clip(array, network.low, network.high)
    return clipped


def explain_func(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> np.ndarray:
    """Relevance of `inputs` for the classes `targets`, with the signature that Quantus calls.

    Parameters
    ----------
    model
        A :class:`relrnn.Network`, or its :func:`module`.
    inputs
        ``[N, 1, rows, cols]`` or ``[N, rows, cols]``.
    targets
        Classes, integers ``[N]``.
    kwargs
        Arguments of :meth:`relrnn.Network.explain`, such as ``method`` and ``value``. ``device`` is ignored: there is only the CPU.

    Returns
    -------
    numpy.ndarray
        float32, of the shape of `inputs`.
    """
    network = model if isinstance(model, Network) else getattr(model, "relrnn_network", None)
    if not isinstance(network, Network):
        raise ValueError(f"model is a {type(model).__name__}; it must be a relrnn.Network or relrnn.quantus.module(network)")
    kwargs.pop("device", None)
    kwargs.setdefault("progress", False)
    classes = np.atleast_1d(np.asarray(detached(targets))).astype(np.int64)
    found = network.explain(_clipped(network, inputs), target=classes, **kwargs)
    return found.relevance.reshape(np.shape(inputs))


def module(network: Network) -> Any:
    """The network as a ``torch.nn.Module``, for metrics that ask for one: its output is the logits, without gradients.

    Raises
    ------
    ImportError
        Without PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("relrnn.quantus.module needs PyTorch: pip install torch") from None

    class Module(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.relrnn_network = network

        def forward(self, x: Any) -> Any:
            logits = network.predict(_clipped(network, x), progress=False)
            return torch.from_numpy(logits).to(x.device)

    return Module().eval()
