"""Arguments as the compiled part takes them: arrays of its types, architectures as JSON."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _native

#: An architecture as data: ``{"encoder": [{"dense": 512}], "core": {"rnn": {"combine": 256, "recurrent": 128}}, "head": [64]}``.
Architecture = Dict[str, Any]



def presets() -> List[str]:
    """The names of the architectures of the thesis, those of the draft first."""
    return _native.presets()


def architecture(
    name: str = "deep",
    *,
    encoder: Union[str, Sequence[Any], None] = None,
    core: Union[str, Dict[str, Any], None] = None,
    head: Union[str, Sequence[int], None] = None,
) -> Architecture:
    """A preset, or a preset with other parts.

    Parameters
    ----------
    name
        One of :func:`presets`; or with `encoder` and `core` any other name.
    encoder
        Layers such as ``"conv5x24,max-pool,128"`` or ``[{"dense": 128}]``; ``"none"``: the core reads the pixels.
    core
        ``"rnn:COMBINE:RECURRENT"`` or ``"r-lstm:CELLS"``, or ``{"rnn": {"combine": 256, "recurrent": 128}}``.
    head
        Widths of the hidden layers in front of the logits, ``"64,32"`` or ``[64, 32]``; ``"none"``.

    Returns
    -------
    dict
        With the keys ``encoder``, ``core`` and ``head``. It can be changed and given to :class:`relrnn.Network`.
    """
    parts = {"cell": name, "encoder": encoder, "core": core, "head": head}
    given = {key: part if isinstance(part, (str, dict)) else list(part) for key, part in parts.items() if part is not None}
    found: Architecture = json.loads(_native.architecture(json.dumps(given)))
    return found


def as_json(architecture_or_name: Union[str, Architecture]) -> str:
    """The JSON of an architecture or of the preset of that name."""
    if isinstance(architecture_or_name, str):
        return json.dumps(architecture(architecture_or_name))
    return json.dumps(architecture_or_name)


class Majority(NamedTuple):
    """A majority problem: two images of one class and one of another, side by side."""

    #: ``[N, rows, 3·cols]``, of the type of the images.
    x: np.ndarray
    #: The class of the two, int64 ``[N]``.
    y: np.ndarray
    #: Which of the three images are of the majority, bool ``[N, 3]``.
    mask: np.ndarray
    #: Their indices, int64 ``[N, 3]``.
    sources: np.ndarray


def maj(x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int = 1, test: bool = False) -> Majority:
    """The majority problem of images: each sample is an image, another of its class and one of another class, in random order.

    The samples are those of ``harness data maj`` for the same images and seed.

    Parameters
    ----------
    x
        Images ``[N, rows, cols]``.
    y
        Classes ``[N]``, 0 to 255.
    seed
        Seed of the partners and their order.
    test
        Draw as the program draws for the test half of a data set.
    """
    images, classes = np.asarray(x), labels("y", y)
    if images.ndim != 3 or len(images) != len(classes):
        shapes = f"x has shape {list(images.shape)} and y {list(classes.shape)}"
        raise ValueError(f"{shapes}; they must be [N, rows, cols] and [N]")
    sources, mask = _native.majority(classes, seed, test)
    n, rows, cols = images.shape
    side_by_side = images[sources].transpose(0, 2, 1, 3).reshape(n, rows, 3 * cols)
    return Majority(side_by_side, classes, mask, sources)


def detached(array: Any) -> Any:
    """A tensor of PyTorch as an array; anything else as it is."""
    if hasattr(array, "detach") and hasattr(array, "cpu"):
        array = array.detach().cpu()
        if getattr(array, "is_floating_point", lambda: False)() and array.element_size() < 4:
            array = array.float()
        return array.numpy()
    return array


def images(name: str, x: Any) -> np.ndarray:
    """Images as float32 or uint8, C-contiguous; a copy only where `x` is neither. One image counts as N = 1."""
    array = np.asarray(detached(x))
    if array.ndim == 2:
        array = array[None]
    if array.dtype == np.uint8 or array.dtype == np.float32:
        return np.ascontiguousarray(array)
    if array.dtype in (np.float64, np.float16):
        return np.ascontiguousarray(array, dtype=np.float32)
    kinds = "float32 in the range of the network, or uint8, which is scaled to it"
    raise ValueError(f"{name} has dtype {array.dtype}; it must be {kinds}")


def labels(name: str, y: Any) -> np.ndarray:
    """Classes as int64 ``[N]``."""
    array = np.asarray(detached(y))
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; it must be integers, the classes from 0")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {list(array.shape)}; it must be [N]")
    if array.dtype == np.uint64 and array.size and int(array.max()) > 255:
        raise ValueError(f"{name} holds {int(array.max())}; the largest class is 255")
    return np.ascontiguousarray(array, dtype=np.int64)


def number(name: str, value: Any) -> float:
    """A finite number."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; it must be a number") from None
    if not math.isfinite(found):
        raise ValueError(f"{name} is {found}; it must be finite")
    return found


def count(name: str, value: Any, least: int = 0) -> int:
    """An integer that is not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    if not least <= int(value) < 2**64:
        raise ValueError(f"{name} is {int(value)}; it must be at least {least}")
    return int(value)


def value_of(value: Any) -> Tuple[str, Optional[np.ndarray]]:
    """The name of an explained value, or its rows over the logits."""
    if isinstance(value, str):
        return value, None
    rows = np.asarray(detached(value))
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise ValueError(f"value has shape {list(rows.shape)} and dtype {rows.dtype}; it must be a name, or numbers [N, classes]")
    return "rows", np.ascontiguousarray(rows, dtype=np.float32)


def target_of(target: Any) -> Tuple[str, Optional[np.ndarray]]:
    """The name of a target, or one class an image."""
    if isinstance(target, str):
        return target, None
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        return str(int(target)), None
    return "given", labels("target", target)
