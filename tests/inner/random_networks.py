"""Random networks, each with a loss, a rule and data of its own; and their meta-gradient by plain PyTorch.

`draw(i)` is always the same problem. `plain(problem)` solves it one task after another on its real points alone, each
step on a deep copy of the network that has the task's weights in the place of the parameters; nothing of quickstudy's
inner loop takes part. The default dtype is to be float64.
"""

import copy
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from inner.layer_kinds import (
    DOMAINS,
    IMAGE,
    KINDS,
    LENGTH,
    NO_SLOPE,
    NO_TRANSFORM,
    SEQUENCE,
    TIED,
    VOCABULARY,
    WIDTH,
    WRONG_SECOND,
    WRONG_THIRD,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import quickstudy as qs

SHAPES = {"vector": (WIDTH,), "sequence": SEQUENCE, "image": IMAGE, "tokens": (LENGTH,)}
SIZES = {"vector": WIDTH, "sequence": 12, "image": 32}
CLASSES = 3


# ------------------------------------------------------------------------------------------------ losses, objectives


class Scaled(nn.Module):
    """Squared error with a learned factor."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-0.4))

    def forward(self, output, y):
        return self.log_scale.exp() * (output - y).square().sum(-1)


class Critic(nn.Module):
    """A small network judges the error."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, output, y):
        return F.softplus(self.b((output - y).tanh() * self.a(y).mean(-1, keepdim=True) @ self.a.weight.t())).squeeze(
            -1
        )


def huber(output, y):
    return F.smooth_l1_loss(output, y, reduction="none", beta=0.5).sum(-1)


def margin(output, y):
    return F.soft_margin_loss(output, y.sign(), reduction="none").sum(-1)


def errors(output, y):
    return (output - y).square().sum(-1)


def weighted_points(model, data, outer):
    return (outer["weights"][: len(data["x"])].exp() * errors(model(data["x"]), data["y"])).mean()


def regularised(model, data, outer):
    output = model(data["x"])
    return errors(output, data["y"]).mean() + outer["strength"].exp() * output.square().mean()


def semi_gradient(model, data, outer):
    with torch.no_grad():
        target = data["y"] + 0.7 * model(data["x"].flip(0))
    return errors(model(data["x"]) * outer["strength"].exp(), target).mean()


def pseudo_labels(model, data, outer):
    output = model(data["x"])
    with torch.no_grad():
        labels = (model(data["x"].flip(0)) + 0.1).softmax(-1)
    return errors(output, data["y"]).mean() - outer["strength"].exp() * (labels * output.log_softmax(-1)).mean()


def physics(model, data, outer):
    x = data["x"].detach().requires_grad_()
    output = model(x)
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return errors(output, data["y"]).mean() + outer["strength"].exp() * (slope.flatten(1).sum(1) - 0.3).square().mean()


def slope_of_function(model, data, outer):
    slope = torch.func.grad(lambda x: model(x).sum())(data["x"])
    return errors(model(data["x"]), data["y"]).mean() + outer["strength"].exp() * slope.square().mean()


LOSSES = {"squared": None, "learned factor": Scaled, "critic": Critic, "Huber": huber, "soft margin": margin}
OBJECTIVES = {
    "weighted points": weighted_points,
    "regularised": regularised,
    "semi-gradient": semi_gradient,
    "pseudo-labels": pseudo_labels,
    "derivative by the inputs": physics,
    "torch.func.grad by the inputs": slope_of_function,
}
NO_SLOPE_EITHER = {"semi-gradient", "pseudo-labels"}


# ------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Rule:
    """A rule of quickstudy's, and the numbers that it stands for.

    Args:
        make: `network -> the rule`.
        adam: Adam's moments in place of a velocity.
        rate: `(rule, name, step) -> number or tensor`.
    """

    make: Callable[[nn.Module], nn.Module]
    adam: bool = False
    momentum: float = 0.0
    nesterov: bool = False
    decay: float = 0.0
    rate: Callable[[Any, str, int], Any] = lambda rule, name, step: rule.lr


def by_layer_and_step(rule, name, step):
    layer = name.rpartition(".")[0] or "network"
    return rule.lr.values[layer.replace(".", "/")][min(step, 1)]


def learned(value):
    return nn.Parameter(torch.tensor(value))


opt = qs.optimizers
RULES = {
    "SGD": Rule(lambda n: opt.SGD(0.1)),
    "SGD, learned rate": Rule(lambda n: opt.SGD(learned(0.08))),
    "momentum": Rule(lambda n: opt.SGD(0.08, momentum=0.8), momentum=0.8),
    "Nesterov, decay": Rule(
        lambda n: opt.SGD(learned(0.06), momentum=0.7, nesterov=True, weight_decay=0.1), False, 0.7, True, 0.1
    ),
    "decay": Rule(lambda n: opt.SGD(0.1, weight_decay=0.2), decay=0.2),
    "a rate a step": Rule(
        lambda n: opt.SGD([0.12, 0.05]), rate=lambda rule, name, step: rule.lr[min(step, len(rule.lr) - 1)]
    ),
    "a rate a layer and step": Rule(
        lambda n: opt.SGD(opt.Rates(n, 0.08, per="layer", steps=2)), rate=by_layer_and_step
    ),
    "a rate an entry": Rule(
        lambda n: opt.SGD(opt.Rates(n, 0.08, per="parameter", log=True)),
        rate=lambda rule, name, step: rule.lr.values[name.replace(".", "/")].exp(),
    ),
    "Adam": Rule(lambda n: opt.Adam(0.03, eps=1e-2), adam=True),
    "Adam, learned rate, decay": Rule(lambda n: opt.Adam(learned(0.03), eps=1e-2, weight_decay=0.1), True, decay=0.1),
}


def root(square):
    """Its root, whose derivative is 0 at 0: there Adam's moving mean, which it divides, is 0 as well."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def moved(rule: Rule, own: Any, name: str, step: int, value: Any, gradient: Any, slot: Any) -> tuple[Any, Any]:
    """The parameter after one step, and what the rule keeps: as torch.optim has it."""
    rate = rule.rate(own, name, step)
    gradient = gradient + rule.decay * value
    if rule.adam:
        first, second, count = slot or (0.0, 0.0, 0)
        first, second, count = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2, count + 1
        size = root(second) / (1 - 0.999**count) ** 0.5 + 1e-2
        return value - rate * first / (1 - 0.9**count) / size, (first, second, count)
    velocity = gradient if slot is None else rule.momentum * slot + gradient
    along = gradient + rule.momentum * velocity if rule.nesterov else velocity
    return value - rate * along, velocity


# ----------------------------------------------------------------------------------------------------------- problems


@dataclass
class Problem:
    """One random network and all that goes with it.

    Args:
        seed: of the draw.
        kinds: the layers' names, and those of loss, rule and the like.
        network: maps `[N, *dx] -> [N, do]`.
        loss: `(output, y) -> [N]`, None for the default; not with an objective.
        objective: `(model, data of one task, outer) -> number`.
        outer: tensors for the objective.
        rule: what is computed by hand.
        own_rule: the same rule of quickstudy's, with its learned rates.
        adapt: patterns of what moves; None for everything.
        each_step: every step has data of its own, through `batch=`.
        batches: twice the data of all steps, and the query points.
    """

    seed: int
    kinds: list[str]
    network: nn.Module
    loss: Any
    objective: Any
    outer: dict[str, torch.Tensor]
    rule: Rule
    own_rule: Any
    steps: int
    adapt: str | None
    each_step: bool
    batches: list[tuple[list[qs.Examples], qs.Examples]] = field(default_factory=list)

    def learned(self) -> dict[str, torch.Tensor]:
        """Everything that a meta-gradient is taken for."""
        found = {f"network.{k}": p for k, p in self.network.named_parameters() if p.requires_grad}
        for part, name in ((self.loss, "loss"), (self.own_rule, "rule")):
            if isinstance(part, nn.Module):
                found |= {f"{name}.{k}": p for k, p in part.named_parameters()}
        return found | {f"outer.{k}": v for k, v in self.outer.items()}

    def smooth(self) -> bool:
        """Whether finite differences see the same gradient."""
        third = WRONG_THIRD if "by the inputs" in " ".join(self.kinds) else set()
        return not (NO_SLOPE | NO_SLOPE_EITHER | WRONG_SECOND | third) & set(self.kinds)


def leading(i: int) -> list[str]:
    """The kinds that network `i` is built around: the next two of all, well mixed; every fourth, one from the end, too.

    Once all have been dealt, they are mixed anew.
    """
    names = list(KINDS)
    random.Random(5 + 2 * i // len(names)).shuffle(names)
    kinds = [names[(2 * i + k) % len(names)] for k in range(2)]
    return kinds + [names[-1 - i // 4 % len(names)]] * (i % 4 == 0)


def draw(i: int) -> Problem:
    """The random network number `i`, with its data."""
    chance = random.Random(i)
    kinds = leading(i)
    kinds += [chance.choice(list(KINDS)) for _ in range(chance.choice([0, 0, 1, 2])) if len(kinds) < 4]
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old weight norm is deprecated
        torch.manual_seed(i)
        return _problem(i, chance, sorted(kinds, key=lambda name: KINDS[name] != "tokens"))


def _problem(i: int, chance: random.Random, kinds: list[str]) -> Problem:
    tokens = KINDS[kinds[0]] == "tokens"
    tied = TIED in kinds
    classes = tied or chance.random() < 0.25
    dim = VOCABULARY if tied else CLASSES if classes else 2
    network = build(kinds, chance, dim)
    objective, outer, loss, judge = None, {}, None, "cross-entropy"
    if not classes and chance.random() < 0.35:
        no = ["inputs"] * tokens + ["torch.func"] * bool(NO_TRANSFORM & set(kinds))
        judge = chance.choice([k for k in OBJECTIVES if not any(word in k for word in no)])
        objective = OBJECTIVES[judge]
        outer = {"weights": (0.3 * torch.randn(8)).requires_grad_(), "strength": torch.tensor(-1.5, requires_grad=True)}
    elif not classes:
        judge = chance.choice(list(LOSSES))
        loss = LOSSES[judge]
        loss = loss() if isinstance(loss, type) else loss
    rule = chance.choice([*RULES, "SGD", "SGD, learned rate", "momentum"])
    steps, every = chance.choice([1, 2, 2, 3]), chance.random() < 0.25
    if "inputs" in judge:  # third derivatives take their time
        steps = 1 + steps // 3
    problem = Problem(
        seed=i,
        kinds=[*kinds, judge, rule],
        network=network,
        loss=loss,
        objective=objective,
        outer=outer,
        rule=RULES[rule],
        own_rule=RULES[rule].make(network),
        steps=steps,
        adapt=None,
        each_step=every,
    )
    with torch.no_grad():
        for p in problem.own_rule.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    if chance.random() < 0.25:
        movable = [k for k, p in network.named_parameters() if p.requires_grad]
        problem.adapt = chance.choice(movable).split(".")[0] + ".*"
        problem.kinds.append(f"adapt={problem.adapt}")
    unequal = objective is None and not every and chance.random() < 0.35
    problem.kinds += [f"{steps} steps"] + ["unequal"] * unequal + ["other data at every step"] * every
    shape = SHAPES[KINDS[kinds[0]]]
    tasks, points, most = chance.choice([3, 4]), chance.choice([4, 5]), VOCABULARY if tokens else None
    for which in range(2):
        padding = which == 1 or chance.random() < 0.7  # at times padding tokens turn up in the second data alone
        data = Data(tasks, shape, dim, most, classes, padding)
        supports = [data.draw(points, unequal) for _ in range(steps if every else 1)]
        problem.batches.append((supports, data.draw(4, unequal and chance.random() < 0.5)))
    return problem


def build(kinds: list[str], chance: random.Random, dim: int) -> nn.Module:
    """The layers in a row, with linear layers between what does not fit, and a last one."""
    layers: list[nn.Module] = []
    now = KINDS[kinds[0]]
    for name in kinds:
        domain = KINDS[name]
        layer = DOMAINS[domain][name](chance)
        with torch.no_grad():
            for p in layer.parameters():
                if p.is_floating_point():
                    p.add_(0.1 * torch.randn(p.shape))
        if domain == "tokens":
            layers.append(layer)
            if now != "tokens":  # a second table reads the same tokens
                layers[-2:] = [Both(layers[-2], layers[-1])]
            now = "sequence"
            continue
        if domain != now:
            layers += [nn.Flatten(), nn.Linear(SIZES[now], SIZES[domain]), nn.Unflatten(1, SHAPES[domain])]
        again = chance.random() < 0.1 and now == domain
        layers += [layer, nn.Tanh(), layer] if again else [layer]  # the same module in two places
        layers += [nn.Tanh()] if chance.random() < 0.7 else []
        now = domain
    if chance.random() < 0.1:
        chance.choice(layers).requires_grad_(False)
    layers += [nn.Flatten(), nn.Linear(SIZES[now], 4 if TIED in kinds else dim)]
    if TIED in kinds:
        first = layers[0]
        table = next(m for m in first.modules() if isinstance(m, nn.Embedding) and not m.sparse)
        layers.append(nn.Linear(4, VOCABULARY, bias=False))
        layers[-1].weight = table.weight
    return nn.Sequential(*layers)


class Both(nn.Module):
    """The sum of two layers."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x):
        return self.one(x) + self.other(x)


@dataclass(frozen=True)
class Data:
    """Tasks that differ: inputs to the left and right of 0, and tokens of which the last task alone has padding.

    Args:
        tasks: how many.
        shape: of an input.
        dim: of an output, or how many classes.
        tokens: how many tokens there are; None for numbers.
        classes: labels in the place of numbers.
        padding: whether the last task has 0 among its tokens.
    """

    tasks: int
    shape: tuple[int, ...]
    dim: int
    tokens: int | None
    classes: bool
    padding: bool

    def draw(self, points: int, unequal: bool) -> qs.Examples:
        """So many points a task; two tasks have one less, if they are to be unequal, and NaN in its place."""
        size = (self.tasks, points)
        if self.tokens is None:
            middle = 0.6 * torch.tensor([1.0, -1.0, 0.3, -0.5])[: self.tasks]
            x = torch.randn(*size, *self.shape) + middle.view(-1, 1, *[1] * len(self.shape))
        else:
            x = torch.randint(1, self.tokens, (*size, *self.shape))
            x[-1, :, 1:] *= torch.rand(x[-1, :, 1:].shape) > 0.6 * self.padding
        y = torch.randint(0, self.dim, size) if self.classes else torch.randn(*size, self.dim)
        if not unequal:
            return qs.Examples(x, y)
        mask = torch.ones(size, dtype=torch.bool)
        mask[1, -1], mask[2, 1] = False, False
        for values in (x, y):
            values[~mask] = torch.nan if values.is_floating_point() else 1
        return qs.Examples(x, y, mask)


# ------------------------------------------------------------------------------------------------------------- oracle


@dataclass
class Outcome:
    """What came out.

    Args:
        loss: the mean query loss.
        params: every task's adapted parameters, `[T, *shape]`, but frozen ones that the network itself wrote into; None
            where they cannot be had.
        grads: of the mean query loss, by everything that is learned.
    """

    loss: float
    params: dict[str, torch.Tensor] | None
    grads: dict[str, torch.Tensor]


class Densified(torch.autograd.Function):
    """x; a sparse gradient goes on as a dense one, which every derivative of torch takes."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.to_dense()


def replica(network: nn.Module, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """A deep copy that has `tensors` in the place of the parameters and buffers of those names, graph and all."""
    memo: dict[int, Any] = {}
    for module in network.modules():  # tensors that are neither: copied without their graph
        memo |= {id(v): v.detach().clone() for v in vars(module).values() if isinstance(v, torch.Tensor)}
    for name, own in (*network.named_parameters(), *network.named_buffers()):
        memo[id(own)] = tensors[name]
    return copy.deepcopy(network, memo)


def one_task(problem: Problem, supports: list[qs.Examples], query: qs.Examples, t: int) -> tuple[Any, dict[str, Any]]:
    """Task `t`'s query loss and adapted parameters, unrolled by hand."""
    network = problem.network
    weights = {k: p.clone() for k, p in network.named_parameters()}  # in the graph of the learned ones
    buffers = {k: b.clone() for k, b in network.named_buffers()}
    start = None if problem.adapt is None else problem.adapt.removesuffix("*")
    moving = [k for k, p in network.named_parameters() if p.requires_grad and (start is None or k.startswith(start))]
    slots: dict[str, Any] = {}

    def loss_of(examples: qs.Examples) -> Any:
        copied = replica(network, weights | buffers)
        real = slice(None) if examples.mask is None else examples.mask[t]
        x, y = examples.x[t][real], examples.y[t][real]
        if problem.objective is not None:
            loss = problem.objective(copied, {"x": x, "y": y}, problem.outer)
        elif problem.loss is not None:
            loss = problem.loss(copied(x), y).mean()
        else:
            loss = F.cross_entropy(copied(x), y) if not y.is_floating_point() else errors(copied(x), y).mean()
        buffers.update({k: b.detach() for k, b in copied.named_buffers()})
        return loss

    for step in range(problem.steps):
        loss = loss_of(supports[min(step, len(supports) - 1)])
        found = torch.autograd.grad(loss, [weights[k] for k in moving], create_graph=True, allow_unused=True)
        for name, gradient in zip(moving, found, strict=True):
            if gradient is None:  # as torch.optim: neither the parameter moves nor its velocity
                continue
            sparse, gradient = gradient.is_sparse, gradient.to_dense()
            weights[name], slots[name] = moved(
                problem.rule, problem.own_rule, name, step, weights[name], gradient, slots.get(name)
            )
            weights[name] = Densified.apply(weights[name]) if sparse else weights[name]
    return loss_of(query), weights


def plain(problem: Problem, which: int = 0) -> Outcome:
    """The oracle: one task after another, in plain PyTorch."""
    supports, query = problem.batches[which]
    learned = problem.learned()
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        warnings.simplefilter("ignore")
        solved = [one_task(problem, supports, query, t) for t in range(query.num_tasks)]
        loss = torch.stack([loss for loss, _ in solved]).mean()
        found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    params = {k: torch.stack([w[k].detach() for _, w in solved]) for k in solved[0][1]}
    for name, p in problem.network.named_parameters():  # whether a task owns what forward writes there is left open
        if not p.requires_grad and not torch.equal(params[name], p.expand_as(params[name])):
            del params[name]
    grads = {k: dense(g, p) for (k, p), g in zip(learned.items(), found, strict=True)}
    return Outcome(loss.item(), params, grads)


def dense(gradient: Any, like: torch.Tensor) -> torch.Tensor:
    """Zeros for None."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()


# ------------------------------------------------------------------------------------------------------- the inner loop

ENGINES = ("loop", "auto", "batched", "lowrank")
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpoint": {"checkpoint": "sqrt"},
    "mixed mode": {"mixed_mode": True},
    "chunk": {"chunk": 2},
}


def solve(problem: Problem, engine: str, option: str) -> list[Outcome]:
    """What quickstudy makes of the problem: of its first data, and then of the second with the same inner loop."""
    settings = {"rule": problem.own_rule, "steps": problem.steps, "adapt": problem.adapt, "loss": problem.loss}
    settings |= {"engine": engine, **OPTIONS[option]}
    if option == "chunk":  # the learners have it
        learner = qs.MAML(problem.network, **settings)
        supports, query = problem.batches[0]
        return [_outcome(problem, learner.meta_loss(qs.Tasks(supports[0], query)), None)]
    loop = qs.inner_loop(problem.network, objective=problem.objective, **settings)
    outcomes = []
    for supports, query in problem.batches:
        if problem.objective is not None:
            data = [{"x": s.x, "y": s.y} for s in supports]
            adapted = _through_batch(loop, data, query.num_tasks, outer=problem.outer)
            losses = adapted.evaluate(problem.objective, {"x": query.x, "y": query.y})
        else:
            each = problem.each_step
            adapted = _through_batch(loop, supports, query.num_tasks) if each else loop(supports[0])
            losses = adapted.losses(query)
        params = {k: v.detach().clone() for k, v in adapted.params.items()}
        outcomes.append(_outcome(problem, losses.mean(), params))
    return outcomes


def _through_batch(loop: Any, data: list[Any], num_tasks: int, **more: Any) -> Any:
    return loop(batch=lambda step, adapted: data[min(step, len(data) - 1)], num_tasks=num_tasks, **more)


def _outcome(problem: Problem, loss: torch.Tensor, params: Any) -> Outcome:
    learned = problem.learned()
    loss.backward()
    grads = {k: dense(p.grad, p).clone() for k, p in learned.items()}
    for p in learned.values():
        p.grad = None
    return Outcome(loss.item(), params, grads)


def differs(found: Outcome, right: Outcome, bound: float = 1e-9) -> str | None:
    """The first parameter that differs by more than `bound` of the largest entry, and by how much; or None."""
    for what, here, there in (("adapted", found.params, right.params), ("gradient of", found.grads, right.grads)):
        if here is None or there is None:
            continue
        if missing := set(there) - set(here):
            return f"{what} {min(missing)}: missing"
        largest = max((v.abs().max().item() for v in there.values() if v.numel()), default=0.0)
        for name, value in there.items():
            error = (here[name] - value).abs().max().item() if value.numel() else 0.0
            if not error <= bound * max(largest, 1e-6):
                return f"{what} {name}: {error:.3g} of {largest:.3g}"
    return None


# ------------------------------------------------------------------------------------------------------------- purity


def snapshot(problem: Problem) -> dict[str, Any]:
    """Everything that belongs to the user, by name."""
    found: dict[str, Any] = {"torch's random state": torch.get_rng_state(), "random's state": random.getstate()}
    found["numpy's random state"] = np.random.get_state()[1].tobytes(), np.random.get_state()[2]
    for part, owner in (("network", problem.network), ("loss", problem.loss), ("rule", problem.own_rule)):
        if not isinstance(owner, nn.Module):
            continue
        for name, p in (*owner.named_parameters(), *owner.named_buffers()):
            found[f"{part}.{name}"], found[f"{part}.{name}, grad"] = p.detach().clone(), p.requires_grad
        for name, module in owner.named_modules():
            here = f"{part}.{name}, a {type(module).__name__}"
            found[f"{here}: keys"] = list(vars(module))
            for key, value in vars(module).items():
                if isinstance(value, torch.Tensor):
                    found[f"{here}: {key}"] = _readable(value)
                elif value is None or isinstance(value, bool | int | float | str):
                    found[f"{here}: {key}"] = value
                elif isinstance(value, dict):  # hooks, too; parameters and buffers by name
                    found[f"{here}: {key}"] = list(value)
    return found


def _readable(tensor: torch.Tensor) -> Any:
    try:
        return tensor.detach().clone()
    except RuntimeError:
        return "a tensor of a torch.func transform that is over"


def changed(before: dict[str, Any], after: dict[str, Any], *, statistics: bool = False) -> str | None:
    """The first thing that is not as it was, to the bit; None if none.

    Args:
        statistics: running statistics may have changed, as `MAML.meta_loss` says.
    """
    for name, value in before.items():
        now = after.get(name, "gone")
        if isinstance(value, torch.Tensor):
            same = isinstance(now, torch.Tensor) and value.dtype == now.dtype and torch.equal(value, now)
        else:
            same = type(value) is type(now) and value == now
        if not same and not statistics:
            return name
    return next((name for name in after if name not in before), None)
