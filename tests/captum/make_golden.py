"""Writes ../golden/captum/*.safetensors: relevance by captum itself, in float64. Not run in CI.

Needs torch and captum (made with captum 0.9.0). captum's rules are set layer by layer; its pools have its default, EpsilonRule. Pixels
have EpsilonRule, as the other two ask for inputs that are not negative.
"""

import pathlib
import sys

from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from golden_network import make

CAPTUM = " --convention captum"


def explain(conv, net, x, target):
    # The rule of the pixels, of other convolutions, of dense layers.
    cases = {
        "epsilon": ("--first epsilon --middle epsilon --last epsilon", [EpsilonRule] * 3),
        "epsilon_tenth": (
            "--first epsilon --middle epsilon --last epsilon --epsilon 0.1",
            [lambda: EpsilonRule(0.1)] * 3,
        ),
        "z_plus": ("--first epsilon", [EpsilonRule, Alpha1_Beta0_Rule, Alpha1_Beta0_Rule]),
        "gamma": (
            "--first epsilon --middle gamma --last gamma --gamma 0.5",
            [EpsilonRule, lambda: GammaRule(0.5), lambda: GammaRule(0.5)],
        ),
        "epsilon_plus": ("--method epsilon-plus", [EpsilonRule, Alpha1_Beta0_Rule, EpsilonRule]),
    }
    for case, (command, (first, middle, dense)) in cases.items():
        for i, layer in enumerate(net.layers):
            layer.rule = first() if i == 0 else middle() if conv and i == 1 else dense()
        yield case, command + CAPTUM, LRP(net).attribute(x.clone(), target=target)


if __name__ == "__main__":
    make("captum", explain)
