"""Writes ../golden/zennit/*.safetensors: relevance by zennit itself, in float64. Not run in CI.

Needs torch and zennit (made with zennit 0.5.1). Two small networks with T = 1, one dense, one with convolutions and max-pools. zennit's
conventions are set to those of this program: no bias in a denominator (zero_params='bias'), and 1e-9 as the stabiliser of every rule but
epsilon and gamma. What zennit does otherwise, docs/rules.md says; where its composite has another rule for the pixels, it gets ours.
"""

import json
import pathlib
import struct

import numpy as np
import torch
from zennit.attribution import Gradient
from zennit.composites import (
    EpsilonAlpha2Beta1,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    LayerMapComposite,
    MixedComposite,
    SpecialFirstLayerMapComposite,
    layer_map_base,
)
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from zennit.types import Convolution, Linear

torch.set_default_dtype(torch.float64)
N, SIDE, CLASSES, LOW, HIGH = 4, 8, 4, -1.0, 1.0
NO_BIAS = {"zero_params": "bias"}
TINY = {"stabilizer": 1e-9, **NO_BIAS}


class Net(torch.nn.Module):
    def __init__(self, conv, rng):
        super().__init__()
        self.conv = conv
        layers = []
        if conv:
            layers += [("encoder.0", torch.nn.Conv2d(1, 3, 5, padding=2)), ("encoder.1", torch.nn.Conv2d(3, 4, 3, padding=1))]
            width = 16
        else:
            layers += [("encoder.0", torch.nn.Linear(SIDE * SIDE, 10))]
            width = 10
        layers += [("combine", torch.nn.Linear(width, 7)), ("head.0", torch.nn.Linear(7, 5)), ("head.1", torch.nn.Linear(5, CLASSES))]
        self.names = [name for name, _ in layers]
        self.layers = torch.nn.ModuleList(layer for _, layer in layers)
        self.relus = torch.nn.ModuleList(torch.nn.ReLU() for _ in layers)
        self.pools = torch.nn.ModuleList(torch.nn.MaxPool2d(2, ceil_mode=True) for _ in range(2))
        self.params = {}
        for name, layer in layers:
            w = layer.weight
            fan = w[0].numel()
            # HWIO and [in, out], as model files have them.
            shape = (*w.shape[2:], w.shape[1], w.shape[0])
            weight = (rng.normal(size=shape) * np.sqrt(2.0 / fan)).astype(np.float32)
            bias = rng.uniform(-5.0, -2.0, size=w.shape[0]).astype(np.float32)
            self.params[name] = weight, bias
            value = torch.tensor(weight, dtype=torch.float64)
            with torch.no_grad():
                w.copy_(value.permute(3, 2, 0, 1) if len(shape) == 4 else value.T)
                layer.bias.copy_(-torch.nn.functional.softplus(torch.tensor(bias, dtype=torch.float64)))

    def forward(self, x):
        convs = 2 if self.conv else 0
        for i, (layer, relu) in enumerate(zip(self.layers, self.relus)):
            if i == convs:
                x = x.permute(0, 2, 3, 1).reshape(len(x), -1)
            x = layer(x)
            if i + 1 < len(self.layers):
                x = relu(x)
            if i < convs:
                x = self.pools[i](x)
        return x


def first(rule, above, base=1e-9):
    """The rule of the first layer, and those of all others."""
    return SpecialFirstLayerMapComposite(layer_map=layer_map_base(base) + above, first_map=[(Linear, rule)])


def cases(conv):
    box = ZBox(LOW * torch.ones(1), HIGH * torch.ones(1), **TINY)
    eps = Epsilon(1e-6, **NO_BIAS)
    over = [(Linear, eps)]
    plus = [(Linear, ZPlus(**TINY))]
    yield "deep_taylor", "--method deep-taylor", first(box, plus)
    yield "lrp", "--method lrp --alpha 2 --beta 1", first(box, [(Linear, AlphaBeta(2.0, 1.0, **TINY))])
    yield "w_square", "--method w-square", first(WSquare(**TINY), plus)
    yield "flat", "--method flat", first(Flat(**TINY), plus)
    yield "gamma", "--middle gamma --last gamma --gamma 0.5", first(box, [(Linear, Gamma(0.5, 1e-6, **NO_BIAS))])
    yield "epsilon", "--first epsilon --middle epsilon --last epsilon --epsilon 0.1", LayerMapComposite(
        layer_map_base(1e-9) + [(Linear, Epsilon(0.1, **NO_BIAS))]
    )
    # The pixels of these two have epsilon here; zennit gives a first convolution its rule for convolutions.
    pixels = SpecialFirstLayerMapComposite(layer_map=[], first_map=over)
    yield "epsilon_plus", "--method epsilon-plus", MixedComposite([pixels, EpsilonPlus(1e-6, **TINY)])
    alpha2 = EpsilonAlpha2Beta1(1e-6, **TINY)
    yield "epsilon_alpha2_beta1", "--method epsilon-alpha2-beta1", MixedComposite([pixels, alpha2])
    yield "epsilon_plus_flat", "--method epsilon-plus-flat", EpsilonPlusFlat(1e-6, **TINY)
    # zennit's stabiliser of gamma is that of the other rules; its first map knows convolutions only.
    gamma = [(Convolution, Gamma(0.25, 1e-6, **NO_BIAS))]
    yield "epsilon_gamma_box", "--method epsilon-gamma-box", EpsilonGammaBox(
        LOW * torch.ones(1), HIGH * torch.ones(1), 1e-6, 0.25, 1e-9, layer_map=gamma, first_map=[(Linear, box)], **NO_BIAS
    )


def write(path, metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    folder = pathlib.Path(__file__).parent.parent / "golden" / "zennit"
    folder.mkdir(exist_ok=True)
    for name, conv, seed in [("zennit-deep-1", False, 21), ("zennit-convdeep-1", True, 22)]:
        rng = np.random.default_rng(seed)
        net = Net(conv, rng).eval()
        images = rng.uniform(LOW, HIGH, size=(N, SIDE, SIDE)).astype(np.float32)
        images[images < -0.3] = LOW
        x = torch.tensor(images, dtype=torch.float64)[:, None]
        x = x if conv else x.reshape(N, 1, SIDE, SIDE)
        logits = net(x).detach()
        target = logits.argmax(1)
        pool = [{"conv": {"size": 5, "channels": 3}}, {"pool": "max"}, {"conv": {"size": 3, "channels": 4}}, {"pool": "max"}]
        architecture = {
            "encoder": pool if conv else [{"dense": 10}],
            "core": {"rnn": {"combine": 7, "recurrent": 6}},
            "head": [5],
        }
        metadata = {"architecture": json.dumps(architecture), "seq_len": "1", "zero_logit": "0"}
        metadata |= {"rows": str(SIDE), "cols": str(SIDE), "classes": str(CLASSES), "low": str(LOW), "high": str(HIGH)}
        tensors = {"input": images, "labels": np.zeros(N, np.int64), "logits": logits.numpy().astype(np.float32)}
        for layer, (weight, bias) in net.params.items():
            tensors |= {f"param.{layer}.weight": weight, f"param.{layer}.bias": bias}
        for case, command, composite in cases(conv):
            with Gradient(net, composite) as attributor:
                hot = torch.eye(CLASSES)[target]
                _, relevance = attributor(x, lambda output: hot * output)
            metadata[f"command.{case}"] = command
            tensors[f"relevance.{case}"] = relevance.reshape(N, SIDE, SIDE).detach().numpy().astype(np.float32)
            print(name, case, float(relevance.abs().sum()), (relevance.sum((1, 2, 3)) / logits.max(1).values).tolist())
        write(folder / f"{name}.safetensors", metadata, tensors)


if __name__ == "__main__":
    main()
