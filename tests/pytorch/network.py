"""A network of dense layers and the `rnn` core in PyTorch, and its model file. Needs torch and safetensors."""

import json
import math

import torch
from safetensors import safe_open
from safetensors.torch import save_file


class Layer(torch.nn.Linear):
    """x·Wᵀ − softplus(b): no effective bias is positive; at first softplus(b) is 0.01."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        torch.nn.init.constant_(self.bias, math.log(math.expm1(0.01)))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight, -torch.nn.functional.softplus(self.bias))


class Network(torch.nn.Module):
    """`architecture` as in a model file: {"encoder": [{"dense": 256}], "core": {"rnn": {…}}, "head": [32]}."""

    def __init__(self, architecture, rows=28, cols=28, seq_len=7, classes=10, low=-1.0, high=1.0):
        super().__init__()
        self.architecture = architecture
        self.task = {"rows": rows, "cols": cols, "seq_len": seq_len, "classes": classes, "low": low, "high": high}
        combine, self.width = (architecture["core"]["rnn"][key] for key in ("combine", "recurrent"))
        widths = [rows * cols // seq_len] + [layer["dense"] for layer in architecture["encoder"]]
        heads = [combine, *architecture["head"], classes]
        self.encoder = torch.nn.ModuleList(Layer(i, o) for i, o in zip(widths, widths[1:]))
        # One step has no recurrent layer.
        self.width = self.width if seq_len > 1 else 0
        self.combine = Layer(widths[-1] + self.width, combine)
        if self.width:
            self.recurrent = Layer(combine, self.width)
        self.head = torch.nn.ModuleList(Layer(i, o) for i, o in zip(heads, heads[1:]))

    def forward(self, x):
        """Logits of images [N, rows, cols] or [N, 1, rows, cols]."""
        x = x.reshape(-1, self.task["rows"], self.task["cols"])
        r = x.new_zeros(len(x), self.width)
        for strip in x.chunk(self.task["seq_len"], dim=2):
            e = strip.reshape(len(x), -1)
            for layer in self.encoder:
                e = layer(e).relu()
            a = self.combine(torch.cat([e, r], dim=1)).relu()
            r = self.recurrent(a).relu() if self.width else r
        for layer in self.head[:-1]:
            a = layer(a).relu()
        return self.head[-1](a)

    def layers(self):
        """Each layer by the name of its tensors."""
        names = {"combine": self.combine} | ({"recurrent": self.recurrent} if self.width else {})
        names |= {f"encoder.{i}": layer for i, layer in enumerate(self.encoder)}
        return names | {f"head.{i}": layer for i, layer in enumerate(self.head)}

    def save(self, path):
        """Writes a model file: dense weights are [in, out], the transpose of PyTorch's."""
        tensors = {}
        for name, layer in self.layers().items():
            tensors[f"{name}.weight"] = layer.weight.detach().T.contiguous().float()
            tensors[f"{name}.bias"] = layer.bias.detach().contiguous().float()
        metadata = {"architecture": json.dumps(self.architecture)} | {key: str(value) for key, value in self.task.items()}
        save_file(tensors, path, metadata=metadata)

    @staticmethod
    def load(path):
        """Reads a model file of `harness train` or of `save`."""
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            numbers = {key: int(metadata[key]) for key in ("rows", "cols", "seq_len", "classes")}
            bounds = {key: float(metadata[key]) for key in ("low", "high")}
            network = Network(json.loads(metadata["architecture"]), **numbers, **bounds)
            with torch.no_grad():
                for name, layer in network.layers().items():
                    layer.weight.copy_(file.get_tensor(f"{name}.weight").T)
                    layer.bias.copy_(file.get_tensor(f"{name}.bias"))
        return network.eval()
