"""Small pictures as PNG files in memory, so that a notebook shows an explanation without matplotlib."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def grey(values: np.ndarray, low: float, high: float, scale: int) -> bytes:
    """An image ``[rows, cols]``: `low` is black and `high` is white; each pixel is `scale` wide."""
    level = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return _png(np.repeat(level[:, :, None], 3, axis=2), scale)


def heatmap(values: np.ndarray, scale: int) -> bytes:
    """Relevance ``[rows, cols]``: red is positive, blue is negative, white is 0; the largest absolute value has the full colour."""
    most = float(np.abs(values).max()) or 1.0
    v = values.astype(np.float64) / most
    pale = 1.0 - np.abs(v)
    return _png(np.stack([np.where(v < 0, pale, 1.0), pale, np.where(v > 0, pale, 1.0)], axis=2), scale)


def _png(rgb: np.ndarray, scale: int) -> bytes:
    """Colours ``[rows, cols, 3]`` in 0…1."""
    pixels = np.rint(255 * rgb).astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    rows, cols = pixels.shape[:2]
    # Every row begins with its filter: none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, 3 * cols)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", cols, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
