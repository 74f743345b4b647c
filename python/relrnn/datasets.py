"""Data sets as arrays. Nothing is downloaded."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional, Union

import numpy as np

from . import _native
from ._inputs import count

Path = Union[str, "os.PathLike[str]"]

__all__ = ["Dataset", "fashion_mnist", "kmnist", "mnist", "open", "synth"]


class Dataset(NamedTuple):
    """A training and a test half. Pixels are uint8; a network scales them to its range by itself."""

    #: uint8 ``[N, rows, cols]``
    x_train: np.ndarray
    #: int64 ``[N]``
    y_train: np.ndarray
    #: uint8 ``[M, rows, cols]``
    x_test: np.ndarray
    #: int64 ``[M]``
    y_test: np.ndarray
    #: Which of three images are of the majority, bool ``[N, 3]``; only of majority problems.
    mask_train: Optional[np.ndarray] = None
    #: The same of the test half, bool ``[M, 3]``.
    mask_test: Optional[np.ndarray] = None


def _dataset(halves: "_native.Halves") -> Dataset:
    (x_train, y_train, mask_train), (x_test, y_test, mask_test) = halves
    return Dataset(x_train, y_train, x_test, y_test, mask_train, mask_test)


def open(name: str, dir: Optional[Path] = None) -> Dataset:  # noqa: A001
    """The data set of that name: four IDX files, plain or ``.gz``.

    Parameters
    ----------
    name
        ``mnist``, ``fashion-mnist``, ``kmnist``, one of these with ``-maj``, or the name of a folder.
    dir
        A folder that holds the files, or ``NAME/…``, or torchvision's ``MNIST/raw/…``. Then ``$RELEVANCE_DATA_DIR``, ``./data`` and
        ``~/.cache/relevance`` are searched, where ``harness data fetch`` puts them.

    Raises
    ------
    FileNotFoundError
        If it is in none of the folders; the message lists them.
    ValueError
        If a file is damaged.
    """
    return _dataset(_native.dataset(name, dir))


def mnist(dir: Optional[Path] = None) -> Dataset:  # noqa: A002
    """MNIST: 60,000 and 10,000 digits of 28×28 pixels; `dir` as in :func:`open`."""
    return open("mnist", dir)


def fashion_mnist(dir: Optional[Path] = None) -> Dataset:  # noqa: A002
    """Fashion-MNIST: 60,000 and 10,000 articles of 28×28 pixels; `dir` as in :func:`open`."""
    return open("fashion-mnist", dir)


def kmnist(dir: Optional[Path] = None) -> Dataset:  # noqa: A002
    """Kuzushiji-MNIST: 60,000 and 10,000 characters of 28×28 pixels; `dir` as in :func:`open`."""
    return open("kmnist", dir)


def synth(train: int = 12_000, test: int = 2_000, seed: int = 1) -> Dataset:
    """Synthetic digits of 28×28 pixels, drawn here: those of ``harness data synth`` with the same numbers."""
    return _dataset(_native.synthetic(count("seed", seed), count("train", train), count("test", test)))
