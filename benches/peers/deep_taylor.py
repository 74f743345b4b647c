"""Deep Taylor decomposition (z^β of pixels, z⁺ of all other layers) of the networks of cells.py, with operations of
PyTorch. The weights that a rule needs are prepared once."""

import torch
import torch.nn.functional as F

from cells import sum_pool

EPS = 1e-9


class ZPlus:
    """A dense layer, or the rows of its weights that belong to one of its inputs."""

    def __init__(self, weight):
        self.weight = weight.clamp(min=0)

    def sums(self, a):
        return a @ self.weight

    def messages(self, a, s):
        return a * (s @ self.weight.T)


class ZBeta:
    """The same for pixels."""

    def __init__(self, weight, bounds):
        self.weight, self.positive, self.negative = weight, weight.clamp(min=0), weight.clamp(max=0)
        self.low, self.high = bounds["low"], bounds["high"]
        self.constant = self.low * self.positive.sum(0) + self.high * self.negative.sum(0)

    def sums(self, x):
        return x @ self.weight - self.constant

    def messages(self, x, s):
        bounds = self.low * (s @ self.positive.T) + self.high * (s @ self.negative.T)
        return x * (s @ self.weight.T) - bounds


class ConvZPlus:
    def __init__(self, weight, pad):
        self.weight, self.pad = weight.clamp(min=0), pad

    def sums(self, a):
        return F.conv2d(a, self.weight, padding=self.pad)

    def messages(self, a, s):
        return a * F.conv_transpose2d(s, self.weight, padding=self.pad)


class ConvZBeta:
    def __init__(self, weight, pad, bounds, size):
        self.weight, self.positive, self.negative, self.pad = weight, weight.clamp(min=0), weight.clamp(max=0), pad
        self.low, self.high = bounds["low"], bounds["high"]
        ones = torch.ones(1, 1, *size)
        both = (self.low, self.positive), (self.high, self.negative)
        self.constant = sum(F.conv2d(bound * ones, part, padding=pad) for bound, part in both)

    def sums(self, x):
        return F.conv2d(x, self.weight, padding=self.pad) - self.constant

    def messages(self, x, s):
        whole, positive, negative = (F.conv_transpose2d(s, part, padding=self.pad)
                                     for part in (self.weight, self.positive, self.negative))
        return x * whole - self.low * positive - self.high * negative


class DeepTaylor:
    def __init__(self, network):
        self.network, weight = network.eval(), lambda layer: layer.weight.detach()
        layers, self.rules, self.lateral, first = iter(network.encoder), [], [], True
        size = network.rows, network.strips(torch.zeros(1, network.rows, 84)).shape[2]
        for kind in network.kinds:
            if kind == "conv":
                layer = next(layers)
                args = weight(layer), layer.pad
                self.rules.append(ConvZBeta(*args, network.bounds, size) if first else ConvZPlus(*args))
                lateral = layer.lateral
                self.lateral.append(None if lateral is None else ConvZPlus(lateral.detach(), layer.pad))
            elif kind == "dense":
                w = weight(next(layers))
                self.rules.append(ZBeta(w, network.bounds) if first else ZPlus(w))
            first = False
        core = weight(network.candidate if network.lstm else network.combine)
        of_e, of_r = core.split([network.units, network.width])
        self.of_e = ZBeta(of_e, network.bounds) if first else ZPlus(of_e)
        self.of_r = ZPlus(of_r)
        self.recurrent = None if network.lstm else ZPlus(weight(network.recurrent))
        self.head = [ZPlus(weight(layer)) for layer in network.head]

    @torch.no_grad()
    def explain(self, images):
        """Relevance [N, rows, cols] of the predicted class, and the logits."""
        network, inputs = self.network, []
        e = network.strips(images)
        e = e.unsqueeze(1) if "conv" in network.kinds else e.flatten(1)
        layers = iter(network.encoder)
        for kind in network.kinds:
            if kind == "dense" and e.dim() == 4:
                inputs.append((kind, e.shape))
                e = e.permute(0, 2, 3, 1).flatten(1)
            inputs.append((kind, e))
            if kind == "conv":
                e = next(layers)(e, network.steps)
            elif kind == "pool":
                e = sum_pool(e)
            else:
                e = next(layers)(e).relu()
        a, core = self.core_forward(e)
        through = []
        for layer in network.head:
            through.append(a)
            a = layer(a)
            a = a if layer is network.head[-1] else a.relu()
        logits = a
        top, predicted = logits.max(dim=1, keepdim=True)
        r = torch.zeros_like(logits).scatter_(1, predicted, top)
        for rule, a in zip(reversed(self.head), reversed(through)):
            r = rule.messages(a, r / (rule.sums(a) + EPS))
        r = self.core_relevance(e, r, core)
        outputs = [of for _, of in inputs[1:]] + [e]
        rules, lateral = list(self.rules), list(self.lateral)
        for (kind, a), y in zip(reversed(inputs), reversed(outputs)):
            if isinstance(a, torch.Size):
                n, channels, height, width = a
                r = r.reshape(n, height, width, channels).permute(0, 3, 1, 2)
            elif kind == "pool":
                height, width = a.shape[2:]
                share = r / (sum_pool(a) + EPS)
                r = a * F.interpolate(share, scale_factor=2)[:, :, :height, :width]
            elif kind == "dense":
                rule = rules.pop()
                r = rule.messages(a, r / (rule.sums(a) + EPS))
            else:
                r = self.conv_relevance(rules.pop(), lateral.pop(), a, y, r)
        r = r.reshape(network.steps, len(images), network.rows, -1)
        return torch.cat(tuple(r), dim=2), logits

    def conv_relevance(self, rule, lateral, a, y, r):
        sums, steps = rule.sums(a), self.network.steps
        if lateral is None:
            return rule.messages(a, r / (sums + EPS))
        sums, y, r, ratios = sums.chunk(steps), y.chunk(steps), r.chunk(steps), []
        later = 0
        for t in reversed(range(steps)):
            z = sums[t] + lateral.sums(y[t - 1]) if t else sums[t]
            ratios.append((r[t] + later) / (z + EPS))
            later = lateral.messages(y[t - 1], ratios[-1]) if t else 0
        return rule.messages(a, torch.cat(ratios[::-1]))

    def core_forward(self, e):
        network, n = self.network, self.network.width
        if not network.lstm:
            sums, of_r = network.parts(network.combine, e)
            states = []
            for t, h in enumerate(sums):
                r = network.recurrent(states[-1][1]).relu() if t else None
                states.append((r, (torch.addmm(h, r, of_r) if t else h).relu()))
            return states[-1][1], states
        (gates, gates_of_h), (candidates, of_h) = (network.parts(layer, e) for layer in (network.gates, network.candidate))
        states, h, c = [], None, None
        for t, (z, candidate) in enumerate(zip(gates, candidates)):
            before = h, c
            if t:
                z, candidate = torch.addmm(z, h, gates_of_h), torch.addmm(candidate, h, of_h)
            i, f, o = z.sigmoid().split(n, dim=1)
            c = f * c + i * candidate.relu() if t else i * candidate.relu()
            h = o * c
            states.append((*before, f, c))
        return h, states

    def core_relevance(self, e, r, states):
        """Relevance of all e_t from that of the core's last output."""
        sums, ratios = self.of_e.sums(e).chunk(self.network.steps), []
        for t in reversed(range(self.network.steps)):
            if self.network.lstm:
                read, before, forget, c = states[t]
                kept = forget * before / (c + EPS) * r if t else 0
                r = r - kept
            else:
                read = states[t][0]
            z = sums[t] + self.of_r.sums(read) if t else sums[t]
            ratios.append(r / (z + EPS))
            if not t:
                break
            r = self.of_r.messages(read, ratios[-1])
            if self.network.lstm:
                r = r + kept
            else:
                a = states[t - 1][1]
                r = self.recurrent.messages(a, r / (self.recurrent.sums(a) + EPS))
        return self.of_e.messages(e, torch.cat(ratios[::-1]))
