"""Where torch's batching rules are wrong, or a pass sees that it is vectorised: every way is as plain PyTorch.

The tensors that `torch.vmap` hands on have no gradient of their own to be asked for or hooked into, and some of its
rules are wrong: an embedding's padding row moves, a slice put back by `select_scatter` loses its gradient.
"""

import pytest
import torch
from inner.faults.oracle import (
    WAYS,
    assert_same,
    every_way,
    found,
    judge,
    made,
    no_other_warnings,
    of,
    plain,
    points,
    squared,
)
from torch import nn
from torch.nn import functional as F

# tokens, of which one is padding


class Words(nn.Module):
    """Sentences `[N, 4]` of six tokens; the padding token's row is never to move."""

    def __init__(self, look_up=None, **options):
        super().__init__()
        self.table, self.leave = nn.Embedding(6, 3, **options), nn.Linear(3, 2)
        self.look_up = look_up or (lambda table, tokens: table(tokens))

    def forward(self, tokens):
        return self.leave(torch.tanh(self.look_up(self.table, tokens)).mean(1))


class Tied(nn.Module):
    """A language model: the table is also the output layer."""

    def __init__(self, padding=0):
        super().__init__()
        self.table, self.body = nn.Embedding(6, 3, padding_idx=padding), nn.Linear(3, 3)
        self.leave = nn.Linear(3, 6, bias=False)
        self.leave.weight = self.table.weight

    def forward(self, tokens):
        return self.leave(torch.tanh(self.body(self.table(tokens).mean(1))))


class TwoTables(nn.Module):
    """Words and their places, both with a padding row; one table is frozen."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(6, 3, padding_idx=0), nn.Embedding(5, 3, padding_idx=4)
        self.fixed, self.leave = nn.Embedding(6, 3, padding_idx=1), nn.Linear(3, 2)
        self.fixed.requires_grad_(False)

    def forward(self, tokens):
        h = self.words(tokens) * self.fixed(tokens) + self.places(torch.arange(4))
        return self.leave(torch.tanh(h).sum(1))


def sentences(tasks=3, seed=0, lowest=0, outputs=2):
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(lowest, 6, (tasks, 4, 4), generator=chance), points(tasks, outputs=outputs, seed=seed)[1]


def padded_in(*tasks, seed=0):
    """Padding in these tasks alone."""
    x, y = sentences(seed=seed, lowest=1)
    for task in tasks:
        x[task, :, 2:] = 0
    return x, y


def functional(table, tokens):
    return F.embedding(tokens, table.weight, padding_idx=2)


def several(table, tokens):
    """Two tables in one: the padding row of the second is another."""
    return F.embedding(tokens, table.weight, padding_idx=0) + F.embedding(tokens, table.weight, padding_idx=5)


WORDS = {
    "padding first": lambda: of(Words(padding_idx=0), sentences(), sentences(seed=1)),
    "padding last": lambda: of(Words(padding_idx=5), sentences(), sentences(seed=1)),
    "padding counted from the end": lambda: of(Words(padding_idx=-2), sentences(), sentences(seed=1)),
    "padding by function": lambda: of(Words(functional), sentences(), sentences(seed=1)),
    "one table, two paddings": lambda: of(Words(several), sentences(), sentences(seed=1)),
    "scaled by frequency": lambda: of(Words(scale_grad_by_freq=True), sentences(), sentences(seed=1)),
    "both": lambda: of(Words(scale_grad_by_freq=True, padding_idx=1), sentences(), sentences(seed=1)),
    "tied to the output": lambda: of(Tied(), sentences(outputs=6), sentences(seed=1, outputs=6)),
    "tied, padding last": lambda: of(Tied(5), sentences(outputs=6), sentences(seed=1, outputs=6)),
    "two tables and a frozen one": lambda: of(TwoTables(), sentences(), sentences(seed=1)),
    "padding in the third task alone": lambda: of(Words(padding_idx=0), padded_in(2), padded_in(seed=1)),
    "padding in the last step alone": lambda: of(
        Words(padding_idx=0), lambda step: padded_in(*((1, 2) if step == 2 else ()), seed=step), padded_in(seed=9)
    ),
    "padding in the query alone": lambda: of(Words(padding_idx=0), padded_in(), padded_in(1, 2, seed=1)),
}


@every_way
@pytest.mark.parametrize("member", WORDS)
def test_padding_rows_stay(member, way):
    judge(WORDS[member](), way)


@every_way
def test_padding_that_first_comes_in_a_later_call(way):
    """Of the same shape, when all before agreed with plain PyTorch."""
    network = Words(padding_idx=0)
    loop = made(of(network, padded_in(), padded_in(seed=1)), way)
    for tasks in ((), (), (0, 1, 2), (2,), ()):
        judge(of(network, padded_in(*tasks), padded_in(*tasks, seed=1)), way, loop)


# operations whose batching rule, or whose forward derivative, is wrong in torch


class Op(nn.Module):
    """An operation on features `[N, 6]` and a weight `[4, 6]`, between two layers."""

    def __init__(self, operation, outputs):
        super().__init__()
        self.first, self.last, self.w = nn.Linear(3, 6), nn.Linear(outputs, 2), nn.Parameter(torch.randn(4, 6) / 2)
        self.operation = operation

    def forward(self, x):
        return self.last(self.operation(self.first(x), self.w).reshape(len(x), -1))


ROWS = torch.tensor([0, 1, 1, 0])


def power(h, w):
    """A short-time Fourier transform, made of overlapping strided views."""
    window = torch.hann_window(4, dtype=h.dtype)
    return torch.view_as_real(torch.stft(h, 4, window=window, center=False, return_complex=True)).square().sum(-1)


def in_place(h, w):
    h = h.clone()
    h[:, 0] = w[0, 0]
    h[1] *= w[1]
    return h


def samples(h, w):
    grid = w.tanh().reshape(1, 4, 3, 2).expand(4, 4, 3, 2)
    return F.grid_sample(h.reshape(4, 1, 2, 3), grid, align_corners=False)


def columns(h, w):
    """Zeros of the network's own that are written into."""
    empty = torch.zeros(4, 6, dtype=h.dtype)
    empty[:, :3] = h[:, :3]
    return empty + w[0]


OPERATIONS = {
    "as_strided": (lambda h, w: h @ w.as_strided((4, 6), (6, 1)).t(), 4),
    "as_strided with overlap": (lambda h, w: h[:, :3] @ w.as_strided((3, 3), (6, 1)), 3),
    "select_scatter": (lambda h, w: torch.select_scatter(h, w[:, 5], 1, 2), 6),
    "select_scatter of itself": (lambda h, w: torch.select_scatter(h, h[:, 3] ** 2, 1, 2), 6),
    "slice_scatter": (lambda h, w: torch.slice_scatter(h, w[:, 1:3], 1, 2, 4), 6),
    "diagonal_scatter": (lambda h, w: torch.diagonal_scatter(h, w[0, :4] ** 2), 6),
    "short-time Fourier transform": (power, 9),
    "scatter_reduce by products": (
        lambda h, w: torch.ones_like(w).scatter_reduce(0, ROWS[:, None].expand(4, 6), h, "prod")[ROWS],
        6,
    ),
    "scatter_reduce by maxima": (lambda h, w: w.scatter_reduce(0, ROWS[:, None].expand(4, 6), h, "amax")[ROWS], 6),
    "index_reduce": (lambda h, w: w.index_reduce(0, ROWS, h, "prod")[ROWS], 6),
    "index_put": (lambda h, w: w.index_put((ROWS,), h, accumulate=True)[ROWS], 6),
    "masked_scatter": (lambda h, w: h.masked_scatter(torch.eye(4, 6, dtype=torch.bool), w**2), 6),
    "products with a zero": (lambda h, w: (h * torch.tensor([0.0, *[1.0] * 5])).prod(-1, keepdim=True) + h, 6),
    "a recurrent cell": (lambda h, w: torch.gru_cell(h, h[:, :2], w[[0, 1, 2, 3, 0, 1]], w[[0, 1, 2, 3, 0, 1], :2]), 2),
    "local response": (lambda h, w: F.local_response_norm(h.reshape(4, 3, 2), 2), 6),
    "a grid of samples": (samples, 12),
    "norm statistics": (lambda h, w: F.batch_norm(h, None, None, w[0], w[1], training=True), 6),
    "in place": (in_place, 6),
    "in place into zeros": (columns, 6),
}  # fmt: skip


@every_way
@pytest.mark.parametrize("member", OPERATIONS)
def test_operations(member, way):
    torch.manual_seed(0)
    operation, outputs = OPERATIONS[member]
    judge(of(Op(operation, outputs)), way)


@every_way
def test_an_operation_switched_on_after_many_calls_that_agreed(way):
    switch = {"on": False}
    operation = OPERATIONS["select_scatter"][0]
    problem = of(Op(lambda h, w: operation(h, w) if switch["on"] else h + w[0], 6))
    loop = made(problem, way)
    for call in range(6):
        switch["on"] = call >= 4
        judge(problem, way, loop)


@every_way
@pytest.mark.parametrize("member", ["select_scatter", "as_strided", "short-time Fourier transform"])
def test_an_operation_in_the_judgement_alone(member, way):
    """What is asked of adapted networks is the user's choice, too, and was not part of the steps."""
    torch.manual_seed(0)
    operation, outputs = OPERATIONS[member]
    weight = torch.randn(2, outputs)

    def judged(model, data, outer):
        x, y = data
        wide = model(x).repeat(1, 3)
        return (operation(wide, wide) @ weight.t() - y).square().sum(-1).mean() if outputs != 9 else power_of(wide)

    def power_of(wide):
        return power(wide, wide).mean()

    judge(of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), judge=judged), way)


# custom Functions


class PlainLinear(torch.autograd.Function):
    """A linear layer, which torch may vectorise by itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return F.linear(x, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g.t() @ x


class Quantised(torch.autograd.Function):
    """Weights rounded on the way there, and not on the way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return F.linear(x, (weight * 4).round() / 4)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return F.linear(g, weight.t()), g.t() @ x


class Convolution(torch.autograd.Function):
    """A convolution along the inputs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return F.conv1d(x[:, None], weight[:, None, :2])[:, :, 0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        to_x = torch.cat([g @ weight[:, :2], g.new_zeros(len(g), x.shape[1] - 2)], 1)
        to_w = torch.cat([g.t() @ x[:, :2], g.new_zeros(weight.shape[0], weight.shape[1] - 2)], 1)
        return to_x, to_w


class OwnRule(torch.autograd.Function):
    """A batching rule of the user's own, which is right."""

    @staticmethod
    def forward(x, weight):
        return F.linear(x, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g.transpose(-1, -2) @ x

    @staticmethod
    def vmap(info, in_dims, x, weight):
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        weight = weight.movedim(in_dims[1], 0) if in_dims[1] is not None else weight
        return x @ weight.transpose(-1, -2), 0


class WrongRule(PlainLinear):
    """A batching rule of the user's own, which is wrong: every task gets the first one's weight."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info, in_dims, x, weight):
        weight = weight.movedim(in_dims[1], 0)[0] if in_dims[1] is not None else weight
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x.expand(info.batch_size, *x.shape)
        return torch.stack([PlainLinear.apply(a, weight) for a in x]), 0


class Reversed(torch.autograd.Function):
    """The gradient turned around, as in domain-adversarial training."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return F.linear(x, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return -0.5 * F.linear(g, weight.t()), g.t() @ x


class ClippedBack(torch.autograd.Function):
    """The gradient clipped by its norm, which is one for all that stands together."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return x @ weight.t()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        g = g * (0.3 / (g.norm() + 0.1))
        return g @ weight, g.t() @ x


class OldStyle(torch.autograd.Function):
    """With its context in forward, which torch cannot vectorise."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g.t() @ x


FUNCTIONS = (PlainLinear, Quantised, Convolution, OwnRule, WrongRule, Reversed, ClippedBack, OldStyle)


class Custom(nn.Module):
    """A custom Function as the first layer, in the middle, or last."""

    def __init__(self, function, place):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.function, self.place = function, place

    def forward(self, x):
        h = torch.tanh(self.run("first", x))
        h = torch.tanh(self.run("middle", h))
        return self.run("last", h)

    def run(self, name, h):
        layer = getattr(self, name)
        return self.function.apply(h, layer.weight) + layer.bias if name == self.place else layer(h)


PLACES = [*(("first", way) for way in WAYS), ("middle", "auto"), ("last", "auto"), ("last", "lowrank")]


@pytest.mark.parametrize("place, way", PLACES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_custom_functions(function, place, way):
    torch.manual_seed(0)
    judge(of(Custom(function, place)), way)


class Once(torch.autograd.Function):
    """Not to be differentiated twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return F.linear(x, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight, g.t() @ x


@pytest.mark.parametrize("way", ["loop", "auto"])
def test_what_cannot_be_differentiated_twice_says_so_on_the_way_back(way):
    """To `backward`, as in plain PyTorch: its `autograd.grad` for chosen inputs goes around the error."""
    problem = of(Custom(Once, "middle"))
    with no_other_warnings():
        adapted = made(problem, way)(batch=lambda step, adapted: problem.data(step), num_tasks=3)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            adapted.evaluate(squared, problem.query).sum().backward()


# hooks, and whoever asks for a gradient


class Hooks(nn.Module):
    """`put` registers a hook on the module, or on what comes by."""

    def __init__(self, put=None, on_the_way=lambda network, h: h):
        super().__init__()
        self.first, self.last, self.on_the_way = nn.Linear(3, 4), nn.Linear(4, 2), on_the_way
        if put is not None:
            put(self)

    def forward(self, x):
        return self.last(torch.tanh(self.on_the_way(self, self.first(x))))


def hook_tensor(function):
    def on_the_way(network, h):
        if h.requires_grad:
            h.register_hook(function)
        return h

    return on_the_way


def hook_tensor_blindly(function):
    def on_the_way(network, h):
        h.register_hook(function)
        return h

    return on_the_way


def clipped(g):
    return g.clamp(-0.05, 0.05)


def to_norm(g):
    return g * (0.1 / (0.1 + g.norm()))


def put_backward(network):
    network.first.register_full_backward_hook(lambda module, to_input, to_output: None)
    network.last.register_full_backward_hook(lambda module, to_input, to_output: (0.5 * to_input[0],))


def put_backward_pre(network):
    network.last.register_full_backward_pre_hook(lambda module, to_output: (to_output[0] * 0.3,))


def put_backward_norm(network):
    network.last.register_full_backward_hook(lambda module, to_input, to_output: (to_norm(to_input[0]),))


def put_forward_tensor(network):
    """A forward hook that hooks its output."""
    network.first.register_forward_hook(lambda module, given, out: hook_tensor(clipped)(module, out))


def put_pre_forward(network):
    network.last.register_forward_pre_hook(
        lambda module, given: (given[0] * 1.5 if given[0].requires_grad else given[0],)
    )


def put_replacing(network):
    network.first.register_forward_hook(
        lambda module, given, out: out.detach() + 0.3 * out if out.requires_grad else out
    )


def put_on_a_parameter(network):
    """It sees the meta-gradient, once, and no gradient of a step: those are of the tasks' own weights."""
    network.first.weight.register_hook(clipped)


def normalised(g):
    return g - g.mean()


HOOKS = {
    "backward hook": (put_backward, None),
    "backward pre-hook": (put_backward_pre, None),
    "backward hook by norm": (put_backward_norm, None),
    "forward hook that hooks its output": (put_forward_tensor, None),
    "forward pre-hook": (put_pre_forward, None),
    "forward hook that replaces": (put_replacing, None),
    "hook on a parameter of the user's": (put_on_a_parameter, None),
    "tensor hook": (None, hook_tensor(lambda g: 0.4 * g)),
    "tensor hook, blindly": (None, hook_tensor_blindly(lambda g: 0.4 * g)),
    "tensor hook that clips": (None, hook_tensor(clipped)),
    "tensor hook by norm": (None, hook_tensor(to_norm)),
    "tensor hook that centres": (None, hook_tensor_blindly(normalised)),
    "tensor hook that looks": (None, hook_tensor(lambda g: None)),
    "whether it needs a gradient": (None, lambda network, h: h * 1.7 if h.requires_grad else h),
    "whether it has a past": (None, lambda network, h: h if h.grad_fn is None else 1.7 * h),
    "whether it is a leaf": (None, lambda network, h: h if h.is_leaf else 1.7 * h),
    "whether the weight needs one": (None, lambda network, h: 1.7 * h if network.last.weight.requires_grad else h),
    "whether gradients are on": (None, lambda network, h: 1.7 * h if torch.is_grad_enabled() else h),
    "what kind of tensor": (None, lambda network, h: 1.7 * h if type(h) is torch.Tensor else h),
    "by the name of the operation": (
        None,
        lambda network, h: 1.7 * h if "Addmm" in type(h.grad_fn).__name__ else h,
    ),
}  # fmt: skip


@every_way
@pytest.mark.parametrize("member", HOOKS)
def test_hooks_and_questions(member, way):
    put, on_the_way = HOOKS[member]
    judge(of(Hooks(put, on_the_way or (lambda network, h: h))), way)


def only_when_large(g):
    return torch.where(g.abs() > 0.3, 0.3 * g.sign(), g)


def hook_node(put):
    def on_the_way(network, h):
        if h.grad_fn is not None:
            put(h.grad_fn)
        return h

    return on_the_way


def hook_after_node(node):
    node.register_hook(lambda to_input, to_output: tuple(None if g is None else only_when_large(g) for g in to_input))


def hook_several(network, h):
    other = 1.3 * h
    if other.requires_grad:
        torch.autograd.graph.register_multi_grad_hook([h, other], lambda gradients: None)
    return other


class ClipsLarge(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h):
        return h.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return only_when_large(g)


ONLY_THERE = {
    "clips": hook_tensor(only_when_large),
    "lets nothing large by": hook_tensor(lambda g: g * (g.abs().max() < 0.5)),
    "on a node": hook_node(hook_after_node),
    "before a node": hook_node(lambda node: node.register_prehook(lambda gs: tuple(map(only_when_large, gs)))),
    "of several tensors": hook_several,
    "keeps the gradient": lambda network, h: h.retain_grad() or h if h.requires_grad else h,
    "a Function that clips": lambda network, h: ClipsLarge.apply(h),
}


@every_way
@pytest.mark.parametrize("member", ONLY_THERE)
def test_a_hook_that_acts_in_a_task_that_is_not_tried(member, way):
    """Of three tasks the first and the last are tried, and their gradients are small."""
    problem = of(Hooks(None, ONLY_THERE[member]))

    def data(step):
        x, y = problem.data(step)
        return x, y * torch.tensor([0.05, 5.0, 0.05]).view(3, 1, 1)

    judge(problem._replace(data=data), way)


@every_way
@pytest.mark.parametrize("put", [put_backward, put_backward_norm, put_forward_tensor, put_replacing])
def test_a_hook_that_comes_and_goes_between_calls(put, way):
    problem = of(Hooks())
    loop = made(problem, way)
    judge(problem, way, loop)
    put(problem.network)
    judge(problem, way, loop)
    for module in problem.network.modules():
        for hooks in (module._backward_hooks, module._forward_hooks):
            hooks.clear()
    judge(problem, way, loop)


@every_way
def test_a_hook_for_all_modules(way):
    problem = of(Hooks())
    handle = nn.modules.module.register_module_full_backward_hook(
        lambda module, to_input, to_output: tuple(None if g is None else 0.5 * g for g in to_input)
    )
    try:
        judge(problem, way)
    finally:
        handle.remove()


@every_way
def test_a_hook_in_the_objective(way):
    def objective(model, data, outer):
        x, y = data
        out = model(x)
        if out.requires_grad:
            out.register_hook(clipped)
        return (out - y).square().sum(-1).mean()

    judge(of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), objective=objective), way)


@pytest.mark.parametrize("way", ["loop", "auto"])
def test_hooks_see_each_task_s_gradient(way):
    """What a hook writes down is what plain PyTorch shows it: gradients without a task axis."""
    seen = []
    network = Hooks(None, hook_tensor(lambda g: seen.append(g.shape)))
    problem = of(network, steps=1)
    assert_same(found(problem, made(problem, way)), plain(problem))
    assert seen and set(seen) == {torch.Size([4, 4])}
