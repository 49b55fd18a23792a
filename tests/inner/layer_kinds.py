"""Kinds of layers for random networks: a name and a builder each, by what they map.

`VECTORS` map `[N, 6]` to itself, `SEQUENCES` `[N, 3, 4]`, `IMAGES` `[N, 2, 4, 4]`; `TOKENS` map `[N, 3]` integers to
sequences. A builder takes a `random.Random`, which chooses among variants, and draws weights from torch's own
generator. What a builder puts into eval mode stays there.
"""

import torch
from torch import nn
from torch.autograd import Function
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

WIDTH, SEQUENCE, IMAGE, LENGTH, VOCABULARY = 6, (3, 4), (2, 4, 4), 3, 5


class Around(nn.Module):
    """`function(x, *parts)`; the parts are modules, parameters and tensors, which become buffers."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.names = function, [f"part{i}" for i in range(len(parts))]
        for name, part in zip(self.names, parts, strict=True):
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.function(x, *(getattr(self, name) for name in self.names))


def linear(bias=True):
    return nn.Linear(WIDTH, WIDTH, bias=bias)


def frozen(module):
    return module.requires_grad_(False)


def weight(*shape):
    return nn.Parameter(0.5 * torch.randn(shape))


def judged(norm):
    """A normalisation in eval mode, with statistics of its own."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 1.5)
    return norm.eval()


def warm(layer):
    """After some calls in training mode."""
    for _ in range(15):
        layer(torch.randn(2, WIDTH))
    return layer


# ---------------------------------------------------------------------------------------- functions of one's own


class OldStyle(Function):
    """tanh."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh().square())


class Generated(Function):
    """tanh, with a batching rule from torch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh().square())


class WithTangent(Function):
    """x^2 / 2, with a batching rule and a forward derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.square() / 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * ctx.saved_tensors[0]


class ByHand(Function):
    """sin, with a batching rule by hand, and half its gradient."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos() / 2

    @staticmethod
    def vmap(info, in_dims, x):
        return ByHand.apply(x), in_dims[0]


class LinearInside(Function):
    """A linear layer that calls `F.linear` out of autograd's sight."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, w, b):
        return F.linear(x, w, b)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return gradient @ w, gradient.mT @ x, gradient.sum(0)


class OldLinear(Function):
    """A linear layer in the old style; its gradient in the weight is doubled."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return F.linear(x, w)

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return gradient @ w, 2 * gradient.mT @ x


class Reversal(Function):
    """x, with the gradient turned round."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -0.5 * gradient


# ------------------------------------------------------------------------------------- modules with ways of their own


class KeepsActivation(nn.Module):
    """Sets on itself what it computed, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.a, self.h, self.calls = linear(), None, 0

    def forward(self, x):
        self.h, self.calls, self.seen = self.a(x), self.calls + 1, True
        return torch.tanh(self.h) + 0.1 * self.h


class InList(nn.Module):
    """Its layers once more in a plain list."""

    def __init__(self):
        super().__init__()
        self.a, self.b = linear(), linear()
        self.order = [self.b, self.a]

    def forward(self, x):
        for layer in self.order:
            x = layer(x).tanh()
        return x


class WeightsInList(nn.Module):
    """Its parameters once more in a plain list and a dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.b = weight(WIDTH, WIDTH), weight(WIDTH)
        self.flat, self.named = [self.a], {"b": self.b}

    def forward(self, x):
        return x @ self.flat[0] + self.named["b"]


class BoundMethod(nn.Module):
    """Calls a method of its own that it keeps as an attribute."""

    def __init__(self):
        super().__init__()
        self.a, self.act = linear(), self.helper

    def helper(self, x):
        return self.a(x).sin()

    def forward(self, x):
        return self.act(x)


class Follower(nn.Module):
    """A frozen copy follows the layer, written into at every call; the output does not depend on it."""

    def __init__(self):
        super().__init__()
        self.a, self.slow = linear(), frozen(linear())

    def forward(self, x):
        with torch.no_grad():
            self.slow.weight.mul_(0.9).add_(self.a.weight, alpha=0.1)
        return self.a(x)


class OwnStatistics(nn.Module):
    """A running mean by hand, read before it is written; in place, or as a new tensor."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, x):
        out = x - self.mean
        found = x.mean(0).detach()
        if self.in_place:
            self.mean.mul_(0.5).add_(found, alpha=0.5)
        else:
            self.mean = 0.5 * self.mean + 0.5 * found
        return out


class Symmetric(nn.Module):
    def forward(self, w):
        return (w + w.mT) / 2


class Energy(nn.Module):
    """The gradient of a learned energy by the input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = linear(), nn.Linear(WIDTH, 1)

    def forward(self, x):
        with torch.enable_grad():
            z = x if x.requires_grad else x.detach().requires_grad_()
            energy = self.b(self.a(z).tanh()).sum()
            return torch.autograd.grad(energy, z, create_graph=True)[0]


# ------------------------------------------------------------------------------------------------- small functions


def by_sum(x, a, b):
    return a(x) if x.sum() > 0 else b(x)


def by_number(x, *heads):
    return heads[int(x[0].abs().sum() * 5) % len(heads)](x)


def one_expert(x, gate, *experts):
    chances = gate(x).softmax(-1)
    best = chances.mean(0).argmax().item()
    return experts[best](x) * chances[:, best : best + 1]


def expert_a_point(x, gate, *experts):
    chances = gate(x).softmax(-1)
    best, out = chances.argmax(-1), torch.zeros_like(x)
    for i, expert in enumerate(experts):
        places = (best == i).nonzero().squeeze(1)
        if len(places):
            out = out.index_add(0, places, expert(x[places]) * chances[places, i : i + 1])
    return out


def halved_until_small(x, a):
    h = a(x)
    while h.detach().abs().max() > 1:
        h = 0.7 * h
    return h


def asks_numpy(x, a, b):
    return a(x) if float(x.detach().numpy().mean()) > 0 else b(x)


def asks_for_gradients(x, a):
    h = a(x)
    return 1.5 * h if h.requires_grad else h


def hooked(hook):
    def function(x, a):
        h = a(x)
        if h.requires_grad:
            h.register_hook(hook)
        return h

    return function


def module_hook(kind, hook):
    """Two layers, the second with a hook."""
    second = linear()
    getattr(second, f"register_{kind}")(hook)
    return nn.Sequential(linear(), nn.Tanh(), second)


def no_grad_target(x, a, b):
    with torch.no_grad():
        target = a(x).tanh()
    return b(x) * target


def set_grad_target(x, a, b):
    with torch.set_grad_enabled(False):
        target = a(x).tanh()
    return a(x) - target * b(x)


@torch.no_grad()
def hardened(h):
    return (h > 0).to(h) - h.sigmoid()


def through_no_grad(x, a):
    h = a(x)
    return h.sigmoid() + hardened(h)


def through_detach(x, a):
    h = a(x)
    return h + (h.round() - h).detach()


def checkpointed(x, a, b, c):
    return c(checkpoint(lambda h: b(h.tanh()).sin(), a(x), use_reentrant=False))


def attention_over_points(x, q, k, v):
    q, k, v = (f(x)[None, None] for f in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0, 0]


def in_place(x, a):
    h = a(x)
    h.mul_(0.5).add_(0.1)
    return torch.relu_(h) + 0.1 * h


def spectrum(x, a, real, imaginary):
    return torch.fft.irfft(torch.fft.rfft(a(x)) * torch.complex(real, imaginary), n=WIDTH)


def resolvent(x, w):
    return torch.linalg.solve(w @ w.mT + torch.eye(WIDTH), x.mT).mT


def tied_pair():
    a, b = linear(), linear()
    b.weight = a.weight
    return nn.Sequential(a, nn.Tanh(), b)


def shifted(x, places):
    return x.gather(1, places.expand(len(x), -1)) + torch.zeros_like(x).scatter_add(1, places.expand(len(x), -1), x)


ACTIVATIONS = (nn.Softplus, nn.GELU, nn.SiLU, nn.ELU, nn.Mish, nn.Softsign, nn.ReLU, nn.LeakyReLU, nn.Hardswish)
INTO_THREE = (WIDTH, 3)

VECTORS = {
    "linear": lambda c: linear(bias=c.random() < 0.5),
    "residual block": lambda c: Around(lambda x, a, b: x + b(a(x).tanh()), linear(), linear()),
    "activation": lambda c: c.choice(ACTIVATIONS)(),
    "PReLU": lambda c: nn.PReLU(c.choice([1, WIDTH])),
    "GLU": lambda c: nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GLU()),
    "softmax": lambda c: c.choice([nn.Softmax, nn.LogSoftmax])(-1),
    "bilinear": lambda c: Around(lambda x, m: m(x, x.tanh()), nn.Bilinear(WIDTH, WIDTH, WIDTH)),
    "einsum": lambda c: Around(lambda x, w: torch.einsum("ni,oij,nj->no", x, w, x.tanh()), weight(WIDTH, WIDTH, WIDTH)),
    "matrix product": lambda c: Around(lambda x, w, b: torch.addmm(b, x, w), weight(WIDTH, WIDTH), weight(WIDTH)),
    "LayerNorm": lambda c: nn.LayerNorm(WIDTH, elementwise_affine=c.random() < 0.7),
    "RMSNorm": lambda c: nn.RMSNorm(WIDTH, eps=1e-3),
    "GroupNorm": lambda c: nn.GroupNorm(2, WIDTH, eps=0.1),
    "BatchNorm1d": lambda c: nn.BatchNorm1d(WIDTH, affine=c.random() < 0.7, eps=1e-2),
    "BatchNorm1d in eval mode": lambda c: judged(nn.BatchNorm1d(WIDTH)),
    "BatchNorm1d without statistics": lambda c: nn.BatchNorm1d(WIDTH, track_running_stats=False, eps=1e-2),
    "statistics of its own": lambda c: OwnStatistics(c.random() < 0.5),
    "dropout in eval mode": lambda c: nn.Sequential(linear(), c.choice([nn.Dropout, nn.AlphaDropout])(0.5)).eval(),
    "weight norm, old": lambda c: nn.utils.weight_norm(linear()),
    "weight norm": lambda c: parametrizations.weight_norm(linear()),
    "spectral norm, old, in eval mode": lambda c: warm(nn.utils.spectral_norm(linear())).eval(),
    "spectral norm in eval mode": lambda c: parametrizations.spectral_norm(linear()).eval(),
    "spectral norm": lambda c: c.choice([nn.utils.spectral_norm, parametrizations.spectral_norm])(linear()),
    "orthogonal": lambda c: parametrizations.orthogonal(linear(), orthogonal_map="cayley"),
    "parametrised": lambda c: Around(
        lambda x, a: a(x), parametrize.register_parametrization(linear(), "weight", Symmetric())
    ),
    "pruned": lambda c: prune.l1_unstructured(linear(), "weight", amount=0.3),
    "forward hook": lambda c: module_hook("forward_hook", lambda m, given, out: out * 1.3 + given[0]),
    "forward hook before": lambda c: module_hook("forward_pre_hook", lambda m, given: (given[0].sin(),)),
    "backward hook": lambda c: module_hook("full_backward_hook", lambda m, into, out: (into[0] * 0.5,)),
    "backward hook before": lambda c: module_hook("full_backward_pre_hook", lambda m, out: (out[0] * 1.5,)),
    "backward hook that looks": lambda c: module_hook("full_backward_hook", lambda m, into, out: None),
    "tensor hook": lambda c: Around(hooked(lambda g: 0.5 * g), linear()),
    "tensor hook that clips": lambda c: Around(hooked(lambda g: g.clamp(-0.005, 0.005)), linear()),
    "asks for gradients": lambda c: Around(asks_for_gradients, linear()),
    "Function, old": lambda c: Around(lambda x, a: OldStyle.apply(a(x)), linear()),
    "Function, generated rule": lambda c: Around(lambda x, a: Generated.apply(a(x)), linear()),
    "Function, rule by hand": lambda c: Around(lambda x, a: ByHand.apply(a(x)), linear()),
    "Function, forward derivative": lambda c: Around(lambda x, a: WithTangent.apply(a(x)), linear()),
    "Function, linear inside": lambda c: Around(
        lambda x, w, b: LinearInside.apply(x, w, b), weight(WIDTH, WIDTH), weight(WIDTH)
    ),
    "Function, linear inside, old": lambda c: Around(lambda x, w: OldLinear.apply(x, w), weight(WIDTH, WIDTH)),
    "gradient reversal": lambda c: Around(lambda x, a: Reversal.apply(a(x)), linear()),
    "branch by the data": lambda c: Around(by_sum, linear(), linear()),
    "branch by numpy": lambda c: Around(asks_numpy, linear(), linear()),
    "loop by the data": lambda c: Around(halved_until_small, linear()),
    "head by number": lambda c: Around(by_number, linear(), linear(), linear()),
    "one expert": lambda c: Around(one_expert, nn.Linear(*INTO_THREE), linear(), linear(), linear()),
    "an expert a point": lambda c: Around(expert_a_point, nn.Linear(*INTO_THREE), linear(), linear(), linear()),
    "choice by where": lambda c: Around(lambda x, a, b: torch.where(x > 0, a(x), b(x)), linear(), linear()),
    "maximum over points": lambda c: Around(lambda x, a: a(x) + a(x).amax(0), linear()),
    "maximum over points, dead units": lambda c: Around(lambda x, a: a(x).relu().max(0).values + x, linear()),
    "mean over points": lambda c: Around(lambda x, a: a(x) - x.mean(0), linear()),
    "attention over points": lambda c: Around(attention_over_points, linear(), linear(), linear()),
    "neighbours": lambda c: Around(
        lambda x, a: (-(a(x)[:, None] - a(x)).square().sum(-1)).softmax(-1) @ x + a(x), linear()
    ),
    "sum so far over points": lambda c: Around(lambda x, a: a(x).cumsum(0) * 0.3, linear()),
    "cumulative": lambda c: Around(c.choice([lambda x: x.tanh().cumprod(-1), lambda x: x.logcumsumexp(-1)])),
    "straight through by detach": lambda c: Around(through_detach, linear()),
    "straight through by no_grad": lambda c: Around(through_no_grad, linear()),
    "target by no_grad": lambda c: Around(no_grad_target, linear(), linear()),
    "target by set_grad_enabled": lambda c: Around(set_grad_target, linear(), linear()),
    "detached branch": lambda c: Around(lambda x, a, b: a(x) + b(x).detach().sin(), linear(), linear()),
    "checkpoint inside": lambda c: Around(checkpointed, linear(), linear(), linear()),
    "keeps an activation": lambda c: KeepsActivation(),
    "layers in a list": lambda c: InList(),
    "parameters in a list": lambda c: WeightsInList(),
    "bound method": lambda c: BoundMethod(),
    "frozen copy that follows": lambda c: Follower(),
    "0-dimensional parameter": lambda c: Around(
        lambda x, s, a: s * a(x) + s, nn.Parameter(torch.tensor(0.8)), linear()
    ),
    "unused parameter": lambda c: Around(lambda x, a, b: a(x), linear(), linear()),
    "frozen layer": lambda c: Around(lambda x, a, b: a(x) + b(x).tanh(), linear(), frozen(linear())),
    "adapter": lambda c: Around(
        lambda x, f, a, b: f(x) + x @ a @ b, frozen(linear()), weight(WIDTH, 2), weight(2, WIDTH)
    ),
    "weight read twice": lambda c: Around(lambda x, a: F.linear(a(x).tanh(), a.weight.t()), linear()),
    "shared module": lambda c: Around(lambda x, a: a(a(x).tanh()), linear()),
    "tied weights": lambda c: tied_pair(),
    "generated weights": lambda c: Around(
        lambda x, make, code: F.linear(x, make(code).view(WIDTH, WIDTH)), nn.Linear(2, WIDTH**2), weight(2)
    ),
    "functional_call inside": lambda c: Around(
        lambda x, a, s: functional_call(a, {"weight": a.weight * s}, (x,)), linear(), weight(WIDTH, 1)
    ),
    "inner derivative": lambda c: Energy(),
    "in place": lambda c: Around(in_place, linear()),
    "sorted": lambda c: Around(c.choice([lambda x: x.sort(-1).values, lambda x: x.topk(WIDTH, -1).values])),
    "gather and scatter": lambda c: Around(shifted, torch.tensor([[2, 0, 1, 1, 5, 3]])),
    "Fourier": lambda c: Around(spectrum, linear(), weight(4), weight(4)),
    "linear solve": lambda c: Around(resolvent, weight(WIDTH, WIDTH)),
}


def across(function):
    """A layer for channels first, on sequences."""
    return Around(lambda x, layer: layer(x.mT).mT, function)


def recurrent(kind, c):
    both = c.random() < 0.3
    return Around(lambda x, layer: layer(x)[0], kind(4, 2 if both else 4, batch_first=True, bidirectional=both))


def cell(kind):
    def function(x, layer):
        state, found = None, []
        for now in x.unbind(1):
            state = layer(now, state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)

    return Around(function, kind(4, 4))


def attention(c):
    weights, mask = c.random() < 0.5, c.choice([None, torch.ones(3, 3).triu(1).bool()])
    return Around(
        lambda x, layer: layer(x, x, x, need_weights=weights, attn_mask=mask)[0],
        nn.MultiheadAttention(4, 2, batch_first=True),
    )


def encoder(c, dropout=0.0):
    options = {"activation": c.choice(["relu", "gelu"]), "norm_first": c.random() < 0.5}
    return nn.TransformerEncoderLayer(4, 2, 6, dropout, batch_first=True, **options)


def scaled_dot_product(c):
    causal = c.random() < 0.5
    return Around(
        lambda x, q, k: F.scaled_dot_product_attention(q(x), k(x), x, is_causal=causal),
        nn.Linear(4, 4),
        nn.Linear(4, 4),
    )


def padded_conv(c):
    mode = c.choice(["reflect", "replicate", "circular", "constant"])
    return across(Around(lambda x, layer: layer(F.pad(x, (1, 1), mode=mode)), nn.Conv1d(4, 4, 3)))


SEQUENCES = {
    "linear along a sequence": lambda c: nn.Linear(4, 4),
    "MultiheadAttention": attention,
    "TransformerEncoderLayer": encoder,
    "TransformerEncoderLayer in eval mode": lambda c: encoder(c, 0.3).eval(),
    "TransformerDecoderLayer": lambda c: Around(
        lambda x, layer: layer(x, x.flip(1)), nn.TransformerDecoderLayer(4, 2, 6, 0.0, batch_first=True)
    ),
    "scaled_dot_product_attention": scaled_dot_product,
    "GRU": lambda c: recurrent(nn.GRU, c),
    "LSTM": lambda c: recurrent(nn.LSTM, c),
    "RNN": lambda c: recurrent(nn.RNN, c),
    "GRUCell": lambda c: cell(nn.GRUCell),
    "LSTMCell": lambda c: cell(nn.LSTMCell),
    "RNNCell": lambda c: cell(nn.RNNCell),
    "Conv1d": lambda c: across(
        nn.Conv1d(4, 4, 3, padding="same", groups=c.choice([1, 2, 4]), dilation=c.choice([1, 2]))
    ),
    "Conv1d, stride": lambda c: Around(
        lambda x, layer: x + layer(x.mT).mT, nn.Conv1d(4, 4, 2, stride=2, bias=c.random() < 0.5)
    ),
    "ConvTranspose1d": lambda c: across(nn.ConvTranspose1d(4, 4, 3, padding=1, groups=c.choice([1, 2]))),
    "padding": padded_conv,
    "InstanceNorm1d": lambda c: across(nn.InstanceNorm1d(4, affine=True, eps=0.1)),
    "BatchNorm1d of sequences": lambda c: across(nn.BatchNorm1d(4, eps=1e-2)),
    "LayerNorm of sequences": lambda c: nn.LayerNorm(c.choice([[4], [3, 4]])),
    "pool along a sequence": lambda c: across(c.choice([nn.MaxPool1d, nn.AvgPool1d])(3, 1, 1)),
    "adaptive pool": lambda c: Around(
        lambda x, pool, a: x + a(pool(x.mT).mT),
        c.choice([nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d])(1),
        nn.Linear(4, 4),
    ),
    "positions": lambda c: Around(lambda x, table: x + table(torch.arange(3)), nn.Embedding(3, 4)),
    "sum so far": lambda c: Around(c.choice([lambda x: 0.5 * x.cumsum(1), lambda x: x.cummax(1).values + x])),
}


def squeeze_and_excite(x, pool, a, b):
    return x * b(a(pool(x)).relu()).sigmoid()


def folded(x, a):
    patches = F.unfold(x, 2, stride=2)
    return F.fold(a(patches.mT).mT, (4, 4), 2, stride=2)


def conv2d(c):
    options = {"groups": c.choice([1, 2]), "dilation": c.choice([1, 2]), "bias": c.random() < 0.7}
    return nn.Conv2d(2, 2, 3, padding="same", padding_mode=c.choice(["zeros", "circular", "reflect"]), **options)


IMAGES = {
    "Conv2d": conv2d,
    "Conv2d, stride, pixel shuffle": lambda c: Around(
        lambda x, a: x + F.pixel_shuffle(a(x), 2), nn.Conv2d(2, 4, 2, stride=2, groups=c.choice([1, 2]))
    ),
    "ConvTranspose2d": lambda c: nn.ConvTranspose2d(2, 2, 3, padding=1, groups=c.choice([1, 2])),
    "ConvTranspose2d, stride": lambda c: nn.Sequential(
        nn.Conv2d(2, 3, 2, stride=2), nn.Tanh(), nn.ConvTranspose2d(3, 2, 2, stride=2)
    ),
    "Conv3d": lambda c: Around(lambda x, a: a(x[:, None]).mean(1), nn.Conv3d(1, 2, 3, padding=1)),
    "ConvTranspose3d": lambda c: Around(lambda x, a: a(x[:, None])[:, 0], nn.ConvTranspose3d(1, 1, 3, padding=1)),
    "depthwise separable": lambda c: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.Conv2d(4, 2, 1)),
    "BatchNorm2d": lambda c: nn.BatchNorm2d(2, affine=c.random() < 0.7),
    "BatchNorm2d in eval mode": lambda c: judged(nn.BatchNorm2d(2)),
    "InstanceNorm2d": lambda c: nn.InstanceNorm2d(2, affine=True, eps=1e-2),
    "InstanceNorm2d in eval mode": lambda c: judged(nn.InstanceNorm2d(2, affine=True, track_running_stats=True)),
    "GroupNorm of images": lambda c: nn.GroupNorm(c.choice([1, 2]), 2),
    "LayerNorm of images": lambda c: nn.LayerNorm(IMAGE),
    "LocalResponseNorm": lambda c: nn.LocalResponseNorm(2, alpha=0.5),
    "max pool": lambda c: nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2)),
    "average pool": lambda c: nn.AvgPool2d(3, 1, 1, count_include_pad=c.random() < 0.5),
    "adaptive max pool": lambda c: nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Upsample(size=(4, 4), mode="bilinear")),
    "squeeze and excite": lambda c: Around(
        squeeze_and_excite, nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)
    ),
    "padding of images": lambda c: nn.Sequential(
        c.choice([nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d])(1), nn.Conv2d(2, 2, 3)
    ),
    "pixel unshuffle": lambda c: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 8, 1), nn.PixelShuffle(2)),
    "unfold and fold": lambda c: Around(folded, nn.Linear(8, 8)),
    "Dropout2d in eval mode": lambda c: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Dropout2d(0.5)).eval(),
    "weight norm of a convolution": lambda c: parametrizations.weight_norm(nn.Conv2d(2, 2, 3, padding=1)),
}


def bag(c):
    # torch has no second derivative of it: one that is not frozen is an error by torch's own loop
    whole = nn.EmbeddingBag(VOCABULARY, 4, mode=c.choice(["sum", "mean"])).requires_grad_(c.random() < 0.3)
    return Around(lambda x, one, whole: one(x) + whole(x)[:, None], nn.Embedding(VOCABULARY, 4), whole)


TIED = "Embedding tied to the output"
TOKENS = {
    "Embedding": lambda c: nn.Embedding(VOCABULARY, 4),
    "Embedding with padding": lambda c: nn.Embedding(VOCABULARY, 4, padding_idx=0),
    "Embedding, sparse": lambda c: nn.Embedding(VOCABULARY, 4, sparse=True, padding_idx=c.choice([None, 0])),
    "Embedding, frozen": lambda c: nn.Embedding.from_pretrained(torch.randn(VOCABULARY, 4)),
    TIED: lambda c: nn.Embedding(VOCABULARY, 4, padding_idx=0),
    "EmbeddingBag": bag,
    "table by index": lambda c: Around(lambda x, w: w[x], weight(VOCABULARY, 4)),
    "table by one-hot": lambda c: Around(lambda x, w: F.one_hot(x, VOCABULARY).to(w) @ w, weight(VOCABULARY, 4)),
}

DOMAINS = {"vector": VECTORS, "sequence": SEQUENCES, "image": IMAGES, "tokens": TOKENS}
KINDS = {name: domain for domain, table in DOMAINS.items() for name in table}
# The gradient is by design not the derivative of the output, which finite differences see.
NO_SLOPE = {
    "backward hook",
    "backward hook before",
    "tensor hook",
    "tensor hook that clips",
    "Function, rule by hand",
    "Function, linear inside, old",
    "gradient reversal",
    "straight through by detach",
    "straight through by no_grad",
    "target by no_grad",
    "target by set_grad_enabled",
    "detached branch",
    "spectral norm",  # its two vectors move at every call, and count as constants
    "statistics of its own",  # likewise
    "Embedding with padding",  # the row of the padding is read, and has no gradient
    "Embedding, sparse",
    TIED,
}
# torch 2.13's own second derivative is wrong here (`gradgradcheck` of `torch._weight_norm` fails: its norms count as
# constants). What plain PyTorch gives is what all engines must give.
WRONG_SECOND = {"weight norm", "weight norm, old", "weight norm of a convolution"}
# The same of torch's third derivative, which a loss with derivatives by the inputs needs.
WRONG_THIRD = {
    "LayerNorm",
    "BatchNorm1d",
    "BatchNorm1d without statistics",
    "BatchNorm1d of sequences",
    "BatchNorm2d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "LayerNorm of sequences",
    "LayerNorm of images",
    "TransformerEncoderLayer",
    "TransformerEncoderLayer in eval mode",
    "TransformerDecoderLayer",
    "cumulative",  # logcumsumexp
}
# torch.func.grad refuses them: they write into buffers, or take part in the way back.
NO_TRANSFORM = {
    "BatchNorm1d",
    "BatchNorm1d of sequences",
    "BatchNorm2d",
    "statistics of its own",
    "spectral norm",
    "frozen copy that follows",
    "backward hook",
    "backward hook before",
    "backward hook that looks",
    "Function, old",
    "Function, linear inside, old",
    "gradient reversal",
    "branch by numpy",
    "checkpoint inside",
}
