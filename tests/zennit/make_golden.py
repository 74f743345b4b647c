"""Writes ../golden/zennit/*.safetensors: relevance by zennit itself, in float64. Not run in CI.

Needs torch and zennit (made with zennit 0.5.1). Each composite is computed twice: with the conventions of this program (no bias in a
denominator, zero_params='bias', and 1e-9 as the stabiliser of every rule but epsilon and gamma), and as zennit has it, which is
--convention zennit. Where a composite of zennit has another rule for the pixels, it gets ours.
"""

import pathlib
import sys

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

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from golden_network import CLASSES, HIGH, LOW, make


def first(rule, above, base=1e-9):
    """The rule of the first layer, and those of all others."""
    return SpecialFirstLayerMapComposite(layer_map=layer_map_base(base) + above, first_map=[(Linear, rule)])


def cases(no_bias, tiny):
    """Name, options and composite; `no_bias` and `tiny` are arguments of zennit's rules that have a stabiliser of their own or not."""
    box = ZBox(LOW * torch.ones(1), HIGH * torch.ones(1), **tiny)
    eps = Epsilon(1e-6, **no_bias)
    over = [(Linear, eps)]
    plus = [(Linear, ZPlus(**tiny))]
    yield "deep_taylor", "--method deep-taylor", first(box, plus)
    yield "lrp", "--method lrp --alpha 2 --beta 1", first(box, [(Linear, AlphaBeta(2.0, 1.0, **tiny))])
    yield "w_square", "--method w-square", first(WSquare(**tiny), plus)
    yield "flat", "--method flat", first(Flat(**tiny), plus)
    yield "gamma", "--middle gamma --last gamma --gamma 0.5", first(box, [(Linear, Gamma(0.5, 1e-6, **no_bias))])
    yield "epsilon", "--first epsilon --middle epsilon --last epsilon --epsilon 0.1", LayerMapComposite(
        layer_map_base(1e-9) + [(Linear, Epsilon(0.1, **no_bias))]
    )
    # The pixels of these two have epsilon here; zennit gives a first convolution its rule for convolutions.
    pixels = SpecialFirstLayerMapComposite(layer_map=[], first_map=over)
    yield "epsilon_plus", "--method epsilon-plus", MixedComposite([pixels, EpsilonPlus(1e-6, **tiny)])
    alpha2 = EpsilonAlpha2Beta1(1e-6, **tiny)
    yield "epsilon_alpha2_beta1", "--method epsilon-alpha2-beta1", MixedComposite([pixels, alpha2])
    yield "epsilon_plus_flat", "--method epsilon-plus-flat", EpsilonPlusFlat(1e-6, **tiny)
    # zennit's stabiliser of gamma is that of the other rules; its first map knows convolutions only.
    gamma = [(Convolution, Gamma(0.25, 1e-6, **no_bias))]
    yield "epsilon_gamma_box", "--method epsilon-gamma-box", EpsilonGammaBox(
        LOW * torch.ones(1), HIGH * torch.ones(1), 1e-6, 0.25, 1e-9, layer_map=gamma, first_map=[(Linear, box)], **no_bias
    )


def explain(_, net, x, target):
    no_bias = {"zero_params": "bias"}
    for suffix, option, arguments in [
        ("", "", (no_bias, {"stabilizer": 1e-9, **no_bias})),
        ("_as_zennit", " --convention zennit", ({}, {})),
    ]:
        for case, command, composite in cases(*arguments):
            with Gradient(net, composite) as attributor:
                hot = torch.eye(CLASSES)[target]
                _, relevance = attributor(x, lambda output: hot * output)
            yield case + suffix, command + option, relevance


if __name__ == "__main__":
    make("zennit", explain)
