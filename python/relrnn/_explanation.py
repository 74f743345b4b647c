"""Explanations, and how they are shown."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

import numpy as np

from ._png import grey, heatmap


#: Images that a notebook shows.
_SHOWN = 12


@dataclass(frozen=True)
class Ledger:
    """What became of relevance in one layer."""

    #: What its stabilisers absorbed, float64 ``[N, T]``.
    absorbed: np.ndarray
    #: The sum of the negative relevance of its inputs, float64 ``[N, T]``.
    negative: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """Relevance of ``N`` images. With ``target="all"`` every array but `logits` and `x` has an axis of classes behind that of images."""

    #: What each pixel contributes to `f`, float32, of the shape of `x`.
    relevance: np.ndarray
    #: The explained value, float32 ``[N]``.
    f: np.ndarray
    #: The explained class, int64 ``[N]``; where weights of the logits are explained, the predicted one.
    target: np.ndarray
    #: Relevance that the stabilisers of denominators absorbed, float64 ``[N]``; 0 for gradient methods.
    absorbed: np.ndarray
    #: Sum of the relevance of each step's strip, float64 ``[N, T]``.
    by_step: np.ndarray
    #: ``|f − ΣR − absorbed| / |f|``, float64 ``[N]``; gradient methods promise nothing.
    conservation: np.ndarray
    #: All logits, float32 ``[N, classes]``.
    logits: np.ndarray
    #: The images.
    x: np.ndarray
    #: Where relevance was absorbed or negative, by layer; empty for gradient methods.
    ledger: Dict[str, Ledger] = field(repr=False)
    #: Name of the method.
    method: str
    #: Name of the explained value; ``rows`` for weights of the logits.
    value: str
    #: Whether the method promises that relevance is conserved.
    conserves: bool
    #: Range of the pixels.
    low: float = field(repr=False)
    #: Range of the pixels.
    high: float = field(repr=False)

    @classmethod
    def _of(
        cls, x: np.ndarray, limits: Tuple[float, float], method: str, value: str, each_class: bool, found: Mapping[str, Any]
    ) -> "Explanation":
        def axes(array: np.ndarray) -> np.ndarray:
            return array if each_class else array[:, 0]

        relevance = found["relevance"]
        return cls(
            relevance=axes(relevance.reshape(*relevance.shape[:2], *x.shape[1:])),
            f=axes(found["f"]),
            target=axes(found["target"]),
            absorbed=axes(found["absorbed"]),
            by_step=axes(found["by_step"]),
            conservation=axes(found["conservation"]),
            logits=found["logits"],
            x=x,
            ledger={
                layer: Ledger(axes(found["layer_absorbed"][:, :, i]), axes(found["layer_negative"][:, :, i]))
                for i, layer in enumerate(found["layers"])
            },
            method=method,
            value=value,
            conserves=found["conserves"],
            low=limits[0],
            high=limits[1],
        )

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        absorbed = float(np.abs(self.absorbed).sum())
        shape = list(self.relevance.shape)
        return f"<relrnn.Explanation {self.method} of {self.value}: relevance {shape}, absorbed {absorbed:.2g}>"

    def _heatmaps(self, i: int) -> np.ndarray:
        """The heatmaps of image `i`, ``[targets, rows, cols]``."""
        rows, cols = self.x.shape[-2:]
        return np.ascontiguousarray(self.relevance[i]).reshape(-1, rows, cols)

    def _titles(self, i: int) -> Iterable[str]:
        of = np.atleast_1d(self.target[i]), np.atleast_1d(self.f[i])
        return (f"class {target}, f = {f:.2f}" for target, f in zip(*of))

    def plot(self, samples: Optional[Iterable[int]] = None, *, cmap: str = "bwr", size: float = 1.5) -> Any:
        """Draws images and heatmaps, red for positive relevance and blue for negative, each symmetric around 0.

        Parameters
        ----------
        samples
            Numbers of images; the first eight unless given.
        cmap
            A colour map of matplotlib.
        size
            Inches of a picture.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``savefig`` writes it.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        try:
            # Tells notebooks how to show a figure.
            import matplotlib.pyplot  # noqa: F401
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("plot needs matplotlib: pip install matplotlib") from None
        chosen = list(range(min(8, len(self)))) if samples is None else [int(i) for i in samples]
        if not chosen:
            raise ValueError("samples is empty; name the images to draw")
        wrong = [i for i in chosen if not -len(self) <= i < len(self)]
        if wrong:
            raise ValueError(f"samples has {wrong[0]}; there are {len(self)} images")
        rows, cols = self.x.shape[-2:]
        high = 1 + max(len(self._heatmaps(i)) for i in chosen)
        figure = Figure(figsize=(size * len(chosen) * max(1.0, cols / rows), size * 1.25 * high), layout="constrained")
        axes = figure.subplots(high, len(chosen), squeeze=False)
        bounds = (0, 255) if self.x.dtype == np.uint8 else (self.low, self.high)
        for column, i in zip(axes.T, chosen):
            column[0].imshow(self.x[i].reshape(rows, cols), cmap="gray", vmin=bounds[0], vmax=bounds[1])
            for axis, values, title in zip(column[1:], self._heatmaps(i), self._titles(i)):
                most = float(np.abs(values).max()) or 1.0
                axis.imshow(values, cmap=cmap, vmin=-most, vmax=most)
                axis.set_title(title, fontsize=7)
        for axis in axes.flat:
            axis.set_axis_off()
        return figure

    def _repr_html_(self) -> str:
        rows, cols = self.x.shape[-2:]
        scale = max(1, 84 // max(rows, cols))
        bounds = (0.0, 255.0) if self.x.dtype == np.uint8 else (self.low, self.high)
        cards = []
        for i in range(min(_SHOWN, len(self))):
            pictures = [_image(grey(self.x[i].reshape(rows, cols), *bounds, scale), f"image {i}")]
            for values, title in zip(self._heatmaps(i), self._titles(i)):
                pictures.append(_image(heatmap(values, scale), title))
            caption = "<br>".join(html.escape(title) for title in self._titles(i))
            cards.append(
                '<figure style="display:inline-block;margin:4px;text-align:center">'
                f'{"".join(pictures)}<figcaption style="font-size:small">{caption}</figcaption></figure>'
            )
        more = f"<p>and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return f"<div><p>{html.escape(repr(self))}</p>{''.join(cards)}{more}</div>"


def _image(png: bytes, text: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    style = "display:inline-block;margin:1px;image-rendering:pixelated"
    return f'<img style="{style}" alt="{html.escape(text)}" title="{html.escape(text)}" src="data:image/png;base64,{data}">'
