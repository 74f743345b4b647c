"""The network."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _native
from ._explanation import Explanation
from ._inputs import Architecture, as_json, count, images, labels, number, target_of, value_of
from ._progress import Progress
from ._torch import content_of_torch

Path = Union[str, "os.PathLike[str]"]


@dataclass
class History:
    """What the epochs of a training brought, one entry an epoch."""

    #: Mean cross-entropy of the training samples before the update of their step and under dropout, nats.
    loss: List[float] = field(default_factory=list)
    #: Share of them that is right.
    accuracy: List[float] = field(default_factory=list)
    #: Mean cross-entropy of the validation samples after the epoch; empty without any.
    validation_loss: List[float] = field(default_factory=list)
    #: Share of them that is right.
    validation_accuracy: List[float] = field(default_factory=list)
    #: Validation samples for which a whole layer is 0, so that nothing of the input is seen.
    validation_dead: List[int] = field(default_factory=list)
    #: Seconds of each epoch.
    seconds: List[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.loss)

    def _add(self, record: Mapping[str, Any]) -> None:
        for key, value in record.items():
            if value is not None:
                getattr(self, key).append(value)


class Network:
    """A recurrent relu network on images that are read as a sequence of column strips.

    Parameters
    ----------
    architecture
        A preset's name (:func:`relrnn.presets`) or an architecture (:func:`relrnn.architecture`).
    rows, cols
        Size of an image.
    seq_len
        Steps T; a step is a strip of ``cols / T`` columns.
    classes
        Number of classes, the logits.
    low, high
        Range of the pixels, with ``low ≤ 0 ≤ high``: the bounds of the rule z-beta, and what uint8 images are scaled to.
    seed
        Seed of the initial values.
    initial_values
        ``"draft"`` (σ = 0.1) or ``"final"`` (σ² = 1 / inputs of a unit).
    zero_logit
        Whether training sees one more logit that is constantly 0, so that the logit of the true class becomes positive.

    Raises
    ------
    ValueError
        If the architecture cannot be built or a number is outside its range; the message says which and why.
    """

    def __init__(
        self,
        architecture: Union[str, Architecture] = "deep",
        rows: int = 28,
        cols: int = 28,
        seq_len: int = 7,
        classes: int = 10,
        *,
        low: float = -1.0,
        high: float = 1.0,
        seed: int = 1,
        initial_values: str = "draft",
        zero_logit: bool = False,
    ) -> None:
        shape: Dict[str, Any] = {"rows": rows, "cols": cols, "seq_len": seq_len, "classes": classes}
        shape = {name: count(name, value) for name, value in shape.items()}
        shape.update(low=number("low", low), high=number("high", high), zero_logit=bool(zero_logit))
        made = _native.Network.create(as_json(architecture), shape, initial_values, count("seed", seed))
        self._native = made

    @classmethod
    def _of(cls, native: _native.Network) -> "Network":
        network = cls.__new__(cls)
        network._native = native
        return network

    @classmethod
    def load(cls, path: Path) -> "Network":
        """Reads a model file (safetensors) of this package or of the program ``harness``.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is no model; the message names the metadata key or the tensor.
        """
        return cls._of(_native.Network.load(path))

    def save(self, path: Path) -> None:
        """Writes a model file (safetensors), atomically; the same network gives the same bytes.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        self._native.save(path)

    @classmethod
    def from_torch(
        cls,
        state_dict: Any,
        architecture: Union[str, Architecture],
        rows: int = 28,
        cols: int = 28,
        seq_len: int = 7,
        classes: Optional[int] = None,
        *,
        low: float = -1.0,
        high: float = 1.0,
        zero_logit: bool = False,
        rename: Optional[Mapping[str, str]] = None,
        channels_first: bool = True,
    ) -> "Network":
        """A network with the weights of PyTorch.

        The layers are called ``encoder.0``, ``encoder.1``, …, ``combine``, ``recurrent`` (only if T > 1), ``head.0``, …, the last
        of which gives the logits; an R-LSTM has ``gates`` and ``candidate`` instead of ``combine`` and ``recurrent``. Layers
        of an ``nn.Sequential`` with ReLUs between are counted in their order: ``encoder.0``, ``encoder.2`` are the first and the
        second layer. ``combine`` is a ``Linear`` on ``torch.cat([e_t, r_t], 1)``.

        Parameters
        ----------
        state_dict
            ``module.state_dict()``, or the module. ``Linear`` weights ``[out, in]`` are transposed, convolutions OIHW become HWIO. A
            missing bias is 0. No other bias may be positive, as a relu layer adds ``−softplus(b)``; only the gates of an R-LSTM
            may have any.
        rename
            Our names for layers with other names, such as ``{"fc1": "encoder.0", "out": "head.0"}``.
        channels_first
            Whether the ``Linear`` behind a convolution reads its output flattened as PyTorch does, ``[channels, rows, cols]``; else
            ``[rows, cols, channels]``.

        Raises
        ------
        ValueError
            If a tensor is missing, is left over, has another shape, or a bias is positive.
        """
        task = {"rows": count("rows", rows, 1), "cols": count("cols", cols, 1), "seq_len": count("seq_len", seq_len, 1)}
        json_text = as_json(architecture)
        tensors, found = content_of_torch(state_dict, json.loads(json_text), task, rename or {}, channels_first)
        metadata = {name: str(value) for name, value in task.items()}
        metadata.update(
            architecture=json_text,
            classes=str(found if classes is None else count("classes", classes)),
            low=str(number("low", low)),
            high=str(number("high", high)),
            zero_logit=str(int(zero_logit)),
            bias="plain",
        )
        return cls._of(_native.Network.build(metadata, tensors))

    def tensors(self) -> Dict[str, np.ndarray]:
        """Copies of the parameters by name, as model files have them: dense weights ``[in, out]``, convolutions HWIO, and biases
        ``b`` of which ``−softplus(b)`` is added."""
        return self._native.describe()[1]

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuilt, self._native.describe()

    @property
    def architecture(self) -> Architecture:
        """Encoder, core and head."""
        found: Architecture = json.loads(self._native.architecture)
        return found

    @property
    def name(self) -> str:
        """The preset's name, or else a description such as ``dense256-rnn128:256-head32``."""
        return self._native.name

    @property
    def variables(self) -> int:
        """Number of variables."""
        return self._native.variables

    @property
    def rows(self) -> int:
        """Rows of an image."""
        return self._native.rows

    @property
    def cols(self) -> int:
        """Columns of an image."""
        return self._native.cols

    @property
    def seq_len(self) -> int:
        """Steps T."""
        return self._native.seq_len

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._native.classes

    @property
    def low(self) -> float:
        """Smallest pixel."""
        return self._native.low

    @property
    def high(self) -> float:
        """Largest pixel."""
        return self._native.high

    @property
    def zero_logit(self) -> bool:
        """Whether training sees a logit that is constantly 0."""
        return self._native.zero_logit

    def __repr__(self) -> str:
        size = f"{self.rows}×{self.cols} in {self.seq_len} steps, {self.classes} classes"
        return f"<relrnn.Network {self.name}: {size}, {self.variables} variables>"

    def predict(self, x: npt.ArrayLike, *, progress: bool = True) -> np.ndarray:
        """Logits of images; ``predict(x).argmax(1)`` are the predicted classes.

        Parameters
        ----------
        x
            ``[N, rows, cols]`` or ``[N, 1, rows, cols]``, float32 in ``low…high``, or uint8, which is scaled to that range. Float64
            and float16 are converted. One image ``[rows, cols]`` counts as N = 1.
        progress
            Whether to show a bar if it takes more than a second.

        Returns
        -------
        numpy.ndarray
            float32 ``[N, classes]``
        """
        array = images("x", x)
        with Progress("predicting", len(array), show=progress) as bar:
            return self._native.logits(array, bar.done)

    def evaluate(self, x: npt.ArrayLike, y: npt.ArrayLike, *, progress: bool = True) -> Dict[str, float]:
        """``{"loss": …, "accuracy": …, "dead": …}`` of labelled images: mean cross-entropy in nats, share of right
        predictions, and the number of images for which a whole layer is 0.

        Parameters
        ----------
        x, y
            Images as in :meth:`predict`, and their classes, integers ``[N]``.
        """
        array, classes = images("x", x), labels("y", y)
        with Progress("evaluating", len(array), show=progress) as bar:
            loss, accuracy, dead = self._native.evaluate(array, classes, bar.done)
        return {"loss": loss, "accuracy": accuracy, "dead": dead}

    def explain(
        self,
        x: npt.ArrayLike,
        method: str = "deep-taylor",
        *,
        target: Union[str, int, npt.ArrayLike] = "predicted",
        value: Union[None, str, npt.ArrayLike] = None,
        rules: Union[None, Path, Mapping[str, str]] = None,
        first: Optional[str] = None,
        middle: Optional[str] = None,
        last: Optional[str] = None,
        alpha: Optional[float] = None,
        beta: Optional[float] = None,
        epsilon: Optional[float] = None,
        gamma: Optional[float] = None,
        convention: Optional[str] = None,
        progress: bool = True,
    ) -> Explanation:
        """What each pixel contributes to a value of the logits.

        Parameters
        ----------
        x
            Images as in :meth:`predict`.
        method
            ``deep-taylor``, ``lrp``, ``z-plus``, ``w-square``, ``flat``, ``epsilon-plus``, ``epsilon-gamma-box``,
            ``epsilon-plus-flat``, ``epsilon-alpha2-beta1``; or ``sensitivity``, ``simple-taylor``, ``guided-backprop``,
            ``integrated-gradients``, ``smooth-grad``.
        target
            The class that is explained: ``"predicted"``, a class, one class for each image ``[N]``, or ``"all"`` in turn.
        value
            What is explained of its logit ``h_y``: ``"centred"`` (less the mean of all logits; unless given), ``"runner-up"`` (less the largest
            other one: why this class and not the next), ``"contrast"`` (less the others by their softmax), ``"logit"``,
            ``"relu"``; or weights of the logits, ``[N, classes]``, such as 1 for one class and −1 for another.
            With a `convention` it is that of the convention unless given, ``"logit"``. The program ``harness explain`` explains
            ``logit`` unless it is told otherwise.
        rules
            Rules that replace those of the method: a dictionary with the keys ``first``, ``convolution``, ``middle``, ``last``,
            or a TOML file.
        first, middle, last
            Rule of the pixels, of the layers between and of the layer of the logits, over those of `rules`: ``z-plus``,
            ``alpha-beta``, ``z-beta``, ``w-square``, ``flat``, ``epsilon``, ``gamma``.
        alpha, beta, epsilon, gamma
            Numbers of the rules; 2, 1, 1e-6 and 0.25 unless given. One of `alpha` and `beta` follows from the other.
        convention
            Stabilisers and biases as another program has them: ``zennit``, ``captum`` or ``author-code``; the thesis unless given.
        progress
            Whether to show a bar if it takes more than a second.

        Returns
        -------
        Explanation
            ``relevance`` has the shape of `x`; with ``target="all"`` a second axis of classes.

        Raises
        ------
        ValueError
            If an argument is unknown or outside its range; the message names it.
        """
        array = images("x", x)
        target_name, targets = target_of(target)
        if value is None and convention is None:
            value = "centred"
        value_name, weights = (None, None) if value is None else value_of(value)
        numbers = {"alpha": alpha, "beta": beta, "epsilon": epsilon, "gamma": gamma}
        options: Dict[str, Any] = {name: None if found is None else number(name, found) for name, found in numbers.items()}
        options.update(method=method, first=first, middle=middle, last=last, convention=convention)
        options.update(target=target_name, targets=targets, value=value_name, weights=weights)
        options.update(rules_file=None, rules=None)
        if isinstance(rules, Mapping):
            places = ("first", "convolution", "middle", "last")
            unknown = [key for key in rules if key not in places]
            if unknown:
                raise ValueError(f"rules has the key {unknown[0]!r}; it must be one of {', '.join(places)}")
            options["rules"] = {place: rules.get(place) for place in places}
        elif rules is not None:
            options["rules_file"] = os.fspath(rules)
        with Progress("explaining", len(array), show=progress) as bar:
            found = self._native.explain(array, options, bar.done)
        return Explanation._of(array, (self.low, self.high), method, value_name or "logit", target_name == "all", found)

    def train(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        epochs: int = 6,
        lr: float = 5e-4,
        batch: int = 50,
        seed: int = 1,
        *,
        validation: Optional[Tuple[npt.ArrayLike, npt.ArrayLike]] = None,
        optimiser: str = "adam",
        momentum: float = 0.9,
        dropout: Optional[float] = None,
        dropout_profile: str = "draft",
        zero_logit: Optional[bool] = None,
        progress: bool = True,
    ) -> History:
        """Trains the network in place: cross-entropy, back-propagation through all steps.

        The same images, settings and seed give the same bits as ``harness train``. Ctrl-C ends the training with
        ``KeyboardInterrupt``; the network then has the parameters of the last complete epoch. Every call begins anew: with the first
        epoch's order of the samples, and an optimiser without a past.

        Parameters
        ----------
        x, y
            Images as in :meth:`predict`, and their classes, integers ``[N]``.
        epochs, lr, batch
            Epochs, learning rate and samples of a step.
        seed
            Seed of the order of the samples and of dropout.
        validation
            Images and classes that are evaluated after each epoch.
        optimiser
            ``"adam"`` (β₁ 0.9, β₂ 0.999) or ``"sgd"``, which has `momentum`.
        dropout
            Probability to drop a unit; unless given that of the profile: 0.5 with an encoder and 0 without, ``final`` 0.2.
        dropout_profile
            Where units are dropped: ``draft`` (behind dense encoder layers and in front of the head), ``draft-code`` (on
            the inputs of the core too), ``final`` (on the input of the recurrent layer too).
        zero_logit
            Whether the loss sees one more logit that is constantly 0 and never the target; unless given as the network says.
        progress
            Whether to show a bar of steps.

        Raises
        ------
        ValueError
            If an argument is outside its range, or a value becomes infinite in training.
        """
        array, classes = images("x", x), labels("y", y)
        held_out = None if validation is None else (images("validation x", validation[0]), labels("validation y", validation[1]))
        settings: Dict[str, Any] = {
            "epochs": count("epochs", epochs),
            "lr": number("lr", lr),
            "batch": count("batch", batch),
            "seed": count("seed", seed),
            "optimiser": optimiser,
            "momentum": number("momentum", momentum),
            "dropout-profile": dropout_profile,
        }
        if dropout is not None:
            settings["dropout"] = number("dropout", dropout)
        if zero_logit is not None:
            settings["zero-logit"] = bool(zero_logit)
        history = History()
        steps = int(epochs) * math.ceil(len(array) / max(1, int(batch)))
        with Progress(f"{self.name}-{self.seq_len}", steps, show=progress, delay=0.0) as bar:

            def epoch(record: Mapping[str, Any]) -> None:
                history._add(record)
                bar.message(_message(record, len(history), epochs))

            options = {"settings": json.dumps(settings), "validation": held_out, "epoch": epoch}
            self._native.train(array, classes, options, bar.done)
        return history


def _message(record: Mapping[str, Any], epoch: int, epochs: int) -> str:
    text = f"epoch {epoch}/{epochs}, loss {record['loss']:.4f}"
    if record["validation_accuracy"] is not None:
        text += f", validation {record['validation_accuracy']:.4f}"
    return text


def _rebuilt(metadata: Dict[str, str], tensors: Dict[str, np.ndarray]) -> Network:
    return Network._of(_native.Network.build(metadata, tensors))
