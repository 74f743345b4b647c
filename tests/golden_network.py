"""The two small networks with T = 1 of the golden cases that other programs compute, one dense, one with convolutions and max-pools;
used by zennit/make_golden.py and captum/make_golden.py."""

import json
import pathlib
import struct

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
N, SIDE, CLASSES, LOW, HIGH = 4, 8, 4, -1.0, 1.0


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


def make(program, explain):
    """Writes golden/PROGRAM/*.safetensors; `explain(conv, net, x, target)` yields name, options of the command, relevance."""
    folder = pathlib.Path(__file__).parent / "golden" / program
    folder.mkdir(exist_ok=True)
    for name, conv, seed in [("deep-1", False, 21), ("convdeep-1", True, 22)]:
        rng = np.random.default_rng(seed)
        net = Net(conv, rng).eval()
        images = rng.uniform(LOW, HIGH, size=(N, SIDE, SIDE)).astype(np.float32)
        images[images < -0.3] = LOW
        x = torch.tensor(images, dtype=torch.float64).reshape(N, 1, SIDE, SIDE)
        logits = net(x).detach()
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
        for case, command, relevance in explain(conv, net, x, logits.argmax(1)):
            metadata[f"command.{case}"] = command
            tensors[f"relevance.{case}"] = relevance.reshape(N, SIDE, SIDE).detach().numpy().astype(np.float32)
            print(name, case, float(relevance.abs().sum()), (relevance.sum((1, 2, 3)) / logits.max(1).values).tolist())
        write(folder / f"{program}-{name}.safetensors", metadata, tensors)
