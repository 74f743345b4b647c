"""The cells of the finished thesis in PyTorch, from the architecture of a model file: logits, and a training step with
dropout profile `final` and a zero logit. What does not depend on the step before is one product over all steps."""

import json
import math

import torch
import torch.nn.functional as F
from safetensors import safe_open

# Steps share one dropout mask in the cells whose name ends with -sd.
CELLS = ["final-shallow", "final-deep", "final-deepv2", "final-convdeep", "final-deep-sd", "r-lstm", "r-lstm-sd",
         "convr-lstm-sd", "convplus-deep", "convplus-r-lstm-sd"]
DROPOUT = 0.2


def initial(*shape, inputs):
    deviation = inputs**-0.5
    return torch.nn.Parameter(torch.nn.init.trunc_normal_(torch.empty(*shape), 0, deviation, -2 * deviation, 2 * deviation))


class Layer(torch.nn.Module):
    """Weights [in, out], and a bias that is subtracted as softplus(b), or added as it is."""

    def __init__(self, inputs, outputs, plain=False):
        super().__init__()
        self.weight, self.plain = initial(inputs, outputs, inputs=inputs), plain
        self.bias = torch.nn.Parameter(torch.full((outputs,), 0.0 if plain else math.log(math.expm1(0.01))))

    def added(self):
        return self.bias if self.plain else -F.softplus(self.bias)

    def forward(self, x):
        return torch.addmm(self.added(), x, self.weight)


class Conv(torch.nn.Module):
    """Weights OIHW, with the same bias; lateral weights from output to output."""

    def __init__(self, size, inputs, outputs, lateral):
        super().__init__()
        fan = size * size * (inputs + (outputs if lateral else 0))
        self.weight, self.pad = initial(outputs, inputs, size, size, inputs=fan), size // 2
        self.bias = torch.nn.Parameter(torch.full((outputs,), math.log(math.expm1(0.01))))
        self.lateral = initial(outputs, outputs, size, size, inputs=fan) if lateral else None

    def forward(self, x, steps):
        """Outputs of all steps, [steps·N, C, H, W], one step after the other."""
        h = F.conv2d(x, self.weight, -F.softplus(self.bias), padding=self.pad)
        if self.lateral is None:
            return h.relu()
        outputs = []
        for h in h.chunk(steps):
            before = F.conv2d(outputs[-1], self.lateral, padding=self.pad) if outputs else 0
            outputs.append((h + before).relu())
        return torch.cat(outputs)


def sum_pool(x):
    return F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=1)


class Network(torch.nn.Module):
    """A network of `architecture`, as in a model file; `stationary` is one dropout mask for all steps of a sample."""

    def __init__(self, architecture, rows=28, cols=84, seq_len=12, classes=10, stationary=False, **bounds):
        super().__init__()
        self.rows, self.steps, self.stationary, self.bounds = rows, seq_len, stationary, bounds
        channels, height, width = 1, rows, cols // seq_len
        self.encoder, self.kinds, units = torch.nn.ModuleList(), [], rows * width
        for stage in architecture["encoder"]:
            (kind, of), = stage.items()
            self.kinds.append(kind)
            if kind == "conv":
                self.encoder.append(Conv(of["size"], channels, of["channels"], of["lateral"]))
                channels = of["channels"]
            elif kind == "pool":
                assert of == "sum", "the cells of the finished thesis have sum-pools"
                height, width = -(-height // 2), -(-width // 2)
            else:
                self.encoder.append(Layer(units, of))
            units = of if kind == "dense" else channels * height * width
        self.lstm = "r-lstm" in architecture["core"]
        if self.lstm:
            core = architecture["core"]["r-lstm"]["cells"]
            self.gates, self.candidate = Layer(units + core, 3 * core, plain=True), Layer(units + core, core)
            self.width = core
        else:
            core, self.width = (architecture["core"]["rnn"][key] for key in ("combine", "recurrent"))
            self.combine, self.recurrent = Layer(units + self.width, core), Layer(core, self.width)
        widths = [core, *architecture["head"], classes]
        self.head = torch.nn.ModuleList(Layer(i, o) for i, o in zip(widths, widths[1:]))
        self.units = units

    def dropped(self, x):
        """Dropout of [steps, N, units]."""
        if not self.training:
            return x
        if not self.stationary:
            return F.dropout(x, DROPOUT)
        return x * F.dropout(torch.ones_like(x[:1]), DROPOUT)

    def masks(self, like, units):
        """Dropout of [N, units], step by step."""
        if not self.training:
            return lambda x: x
        if not self.stationary:
            return lambda x: F.dropout(x, DROPOUT)
        mask = F.dropout(like.new_ones(len(like), units), DROPOUT)
        return lambda x: x * mask

    def strips(self, x):
        """[N, rows, cols] as [steps·N, rows, cols of a step], one step after the other."""
        return torch.cat(x.chunk(self.steps, dim=2))

    def encode(self, x):
        e, layers = self.strips(x), iter(self.encoder)
        e = e.unsqueeze(1) if "conv" in self.kinds else e.flatten(1)
        for kind in self.kinds:
            if kind == "conv":
                e = next(layers)(e, self.steps)
            elif kind == "pool":
                e = sum_pool(e)
            else:
                e = e.permute(0, 2, 3, 1).flatten(1) if e.dim() == 4 else e
                e = next(layers)(e).relu()
                e = self.dropped(e.unflatten(0, (self.steps, -1))).flatten(0, 1)
        return e

    def parts(self, layer, e):
        """The products of all e_t with a layer that reads [e_t, r_t], bias added, and its weights of r_t."""
        of_e, of_r = layer.weight.split([self.units, self.width])
        return torch.addmm(layer.added(), e, of_e).chunk(self.steps), of_r

    def forward(self, x):
        """Logits of images [N, rows, cols]."""
        e = self.encode(x)
        a = self.run_lstm(x, e) if self.lstm else self.run_rnn(x, e)
        a = F.dropout(a, DROPOUT, self.training)
        for layer in self.head[:-1]:
            a = layer(a).relu()
        return self.head[-1](a)

    def run_rnn(self, x, e):
        sums, of_r = self.parts(self.combine, e)
        of_combine, of_recurrent = self.masks(x, self.width), self.masks(x, self.combine.weight.shape[1])
        for t, h in enumerate(sums):
            a = (torch.addmm(h, of_combine(r), of_r) if t else h).relu()
            if t + 1 < self.steps:
                r = self.recurrent(of_recurrent(a)).relu()
        return a

    def run_lstm(self, x, e):
        (gates, gates_of_h), (candidates, candidate_of_h) = self.parts(self.gates, e), self.parts(self.candidate, e)
        drop, n = self.masks(x, self.width), self.width
        for t, (z, candidate) in enumerate(zip(gates, candidates)):
            if t:
                read = drop(h)
                z, candidate = torch.addmm(z, read, gates_of_h), torch.addmm(candidate, read, candidate_of_h)
            i, f, o = z.sigmoid().split(n, dim=1)
            c = f * c + i * candidate.relu() if t else i * candidate.relu()
            h = o * c
        return h

    def layers(self):
        """Each layer by the name of its tensors."""
        names = {f"encoder.{i}": layer for i, layer in enumerate(self.encoder)}
        names |= {key: getattr(self, key) for key in ("gates", "candidate", "combine", "recurrent") if hasattr(self, key)}
        return names | {f"head.{i}": layer for i, layer in enumerate(self.head)}


def load(path, stationary=False):
    """The network of a model file."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        numbers = {key: int(metadata[key]) for key in ("rows", "cols", "seq_len", "classes")}
        bounds = {key: float(metadata[key]) for key in ("low", "high")}
        network = Network(json.loads(metadata["architecture"]), stationary=stationary, **numbers, **bounds)
        names = set(file.keys())
        with torch.no_grad():
            for name, layer in network.layers().items():
                for part, parameter in layer.named_parameters():
                    key = f"{name}.lateral" if part == "lateral" else f"{name}.{part}"
                    tensor = file.get_tensor(key)
                    names.remove(key)
                    parameter.copy_(tensor.permute(3, 2, 0, 1) if parameter.dim() == 4 else tensor)
    assert not names, f"{path}: unknown tensors {names}"
    return network.eval()


def loss(logits, labels):
    """Cross-entropy with one more logit that is always 0."""
    return F.cross_entropy(F.pad(logits, (0, 1)), labels)


class Training:
    """Steps of Adam, with dropout."""

    def __init__(self, network):
        self.network = network.train()
        self.optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)

    def step(self, x, labels):
        self.optimiser.zero_grad()
        loss(self.network(x), labels).backward()
        self.optimiser.step()
