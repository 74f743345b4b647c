"""A network of PyTorch and ours: the same logits, and the relevance that zennit finds. Skipped where they are not installed."""

import numpy as np
import pytest

import relrnn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

ROWS, COLS, CLASSES = 12, 12, 5
#: zennit set to our conventions: no bias in a denominator, 1e-9 as the stabiliser of every rule but epsilon.
NO_BIAS = {"zero_params": "bias"}
TINY = {"stabilizer": 1e-9, **NO_BIAS}
#: zennit as it is, and the convention by which we follow it.
SETTINGS = {None: (NO_BIAS, TINY), "zennit": ({}, {})}


class Recurrent(torch.nn.Module):
    """Encoder, combine and recurrent, head. Every step has its own modules over the same values, so that hooks see each once."""

    def __init__(self, encoder, encoded, seq_len, flat):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.seq_len, self.flat, recurrent = seq_len, flat, 6 if seq_len > 1 else 0
        self.encoder = encoder
        self.combine = torch.nn.Linear(encoded + 6, 9)
        if recurrent:
            self.recurrent = torch.nn.Linear(9, 6)
        self.head = torch.nn.Sequential(torch.nn.Linear(9, 7), torch.nn.ReLU(), torch.nn.Linear(7, CLASSES))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.normal_(0, 0.35, generator=generator)
                if name.endswith("bias"):
                    parameter.abs_().neg_().mul_(0.2)

    def unrolled(self):
        """The same network with a copy of each module for each step."""
        import copy

        other = copy.deepcopy(self)
        other.steps = torch.nn.ModuleList(
            torch.nn.ModuleList(
                [copy.deepcopy(self.encoder), copy.deepcopy(self.combine), copy.deepcopy(getattr(self, "recurrent", torch.nn.Identity()))]
                + [torch.nn.ReLU(), torch.nn.ReLU()]
            )
            for _ in range(self.seq_len)
        )
        return other.eval()

    def forward(self, x):
        r = torch.zeros(len(x), 6, dtype=x.dtype)
        width = COLS // self.seq_len
        for t in range(self.seq_len):
            strip = x[..., t * width : (t + 1) * width]
            encoder, combine, recurrent, relu, relu_r = self.steps[t] if hasattr(self, "steps") else self.layers()
            e = encoder(strip.flatten(1) if self.flat else strip).flatten(1)
            a = relu(combine(torch.cat([e, r], 1)))
            r = relu_r(recurrent(a)) if self.seq_len > 1 else r
        return self.head(a)

    def layers(self):
        return self.encoder, self.combine, getattr(self, "recurrent", None), torch.relu, torch.relu


def dense(seq_len):
    encoder = torch.nn.Sequential(torch.nn.Linear(ROWS * COLS // seq_len, 11), torch.nn.ReLU())
    architecture = relrnn.architecture("mine", encoder="11", core="rnn:9:6", head="7")
    return Recurrent(encoder, 11, seq_len, True), architecture


def convolutional(seq_len):
    # 12×3 pixels become 6×2, then 3×1: the pools are as wide as ours where a side is odd.
    pool = lambda: torch.nn.MaxPool2d(2, ceil_mode=True)  # noqa: E731
    conv = torch.nn.Conv2d
    layers = [conv(1, 4, 3, padding=1), torch.nn.ReLU(), pool(), conv(4, 5, 3, padding=1), torch.nn.ReLU(), pool()]
    rows, cols = 3, -(-(-(-COLS // seq_len // 2)) // 2)
    architecture = relrnn.architecture("mine", encoder="conv3x4,max-pool,conv3x5,max-pool", core="rnn:9:6", head="7")
    return Recurrent(torch.nn.Sequential(*layers), 5 * rows * cols, seq_len, False), architecture


def converted(module, architecture, **arguments):
    """Ours of theirs; without recurrence combine reads only the encoder."""
    state = module.state_dict()
    if module.seq_len == 1:
        state["combine.weight"] = state["combine.weight"][:, :-6]
    return relrnn.Network.from_torch(state, architecture, ROWS, COLS, module.seq_len, **arguments)


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(3)
    found = torch.rand(20, 1, ROWS, COLS, generator=generator) * 2 - 1
    return torch.where(found < -0.3, -1.0, found)


@pytest.mark.parametrize("seq_len", [1, 4])
@pytest.mark.parametrize("make", [dense, convolutional])
def test_logits_are_those_of_pytorch(make, seq_len, x):
    module, architecture = make(seq_len)
    network = converted(module, architecture)
    assert network.classes == CLASSES
    with torch.no_grad():
        expected = module(x).numpy()
    found = network.predict(x)
    assert np.abs(expected).max() > 0.05 and expected.std(0).min() > 1e-3
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("convention", SETTINGS)
@pytest.mark.parametrize("method", ["deep-taylor", "epsilon", "flat"])
@pytest.mark.parametrize("seq_len", [1, 4])
@pytest.mark.parametrize("make", [dense, convolutional])
def test_relevance_is_that_of_zennit(make, seq_len, method, convention, x):
    pytest.importorskip("zennit", reason="zennit is not installed: pip install zennit")
    from zennit.attribution import Gradient
    from zennit.composites import NameMapComposite
    from zennit.rules import Epsilon, Flat, ZBox, ZPlus

    module, architecture = make(seq_len)
    network = converted(module, architecture)
    unrolled = module.unrolled().double()
    named = [name for name, layer in unrolled.named_modules() if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))]
    first = [name for name in named if name.startswith("steps.") and name.endswith(".0.0")]
    others = [name for name in named if name not in first]
    low, high = torch.tensor([-1.0]).double(), torch.tensor([1.0]).double()
    bias, settings = SETTINGS[convention]
    epsilon = Epsilon(0.1, **bias)
    rule, above = {
        "deep-taylor": (ZBox(low, high, **settings), ZPlus(**settings)),
        "epsilon": (epsilon, epsilon),
        "flat": (Flat(**settings), ZPlus(**settings)),
    }[method]
    target = torch.tensor([2] * len(x))
    with Gradient(unrolled, NameMapComposite([(first, rule), (others, above)])) as attributor:
        _, expected = attributor(x.double(), lambda logits: torch.eye(CLASSES, dtype=torch.float64)[target] * logits)
    expected = expected.detach().numpy()
    arguments = {"first": "epsilon", "middle": "epsilon", "last": "epsilon", "epsilon": 0.1} if method == "epsilon" else {"method": method}
    found = network.explain(x, target=2, value="logit", convention=convention, **arguments).relevance
    assert found.shape == expected.shape and np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_what_does_not_fit_is_named():
    module, architecture = dense(4)
    state = dict(module.state_dict())

    def check(state, word):
        with pytest.raises(ValueError) as raised:
            relrnn.Network.from_torch(state, architecture, ROWS, COLS, 4)
        assert word in str(raised.value) and "\n" not in str(raised.value)

    check({**state, "combine.bias": state["combine.bias"].abs()}, "must not be positive")
    check({key: tensor for key, tensor in state.items() if key != "recurrent.weight"}, "recurrent.weight")
    check({**state, "norm.weight": torch.ones(3)}, "norm")
    check({**state, "recurrent.weight": state["recurrent.weight"].T}, "recurrent.weight")
    check({**state, "head.0.weight": torch.full((7, 9), float("nan"))}, "NaN")


def test_layers_are_renamed_and_missing_biases_are_zero(x):
    module, architecture = dense(4)
    with torch.no_grad():
        module.combine.bias.zero_()
    state = {key.replace("combine", "cell.mix"): tensor for key, tensor in module.state_dict().items()}
    del state["cell.mix.bias"]
    network = relrnn.Network.from_torch(state, architecture, ROWS, COLS, 4, rename={"cell.mix": "combine"})
    with torch.no_grad():
        assert np.abs(network.predict(x) - module(x).numpy()).max() < 1e-5


def test_gates_of_an_r_lstm_keep_positive_biases():
    network = relrnn.Network(relrnn.architecture("mine", encoder="8", core="r-lstm:5", head="none"), ROWS, COLS, 4, CLASSES)
    softplus = lambda b: -np.logaddexp(0, b)  # noqa: E731
    state = {}
    for name, tensor in network.tensors().items():
        plain = tensor if name.startswith("gates") or not name.endswith("bias") else softplus(tensor)
        state[name] = torch.tensor(plain.T if plain.ndim == 2 else plain)
    state["gates.bias"] = torch.linspace(-1, 1, 15)
    found = relrnn.Network.from_torch(state, network.architecture, ROWS, COLS, 4)
    assert np.array_equal(found.tensors()["gates.bias"], state["gates.bias"].numpy())
    assert np.allclose(found.tensors()["candidate.bias"], network.tensors()["candidate.bias"], atol=1e-5)
