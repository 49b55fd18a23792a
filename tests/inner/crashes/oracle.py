"""The inner loop without the engine: task by task on deep copies that hold the task's weights, unrolled by autograd.

Nothing of `quickstudy.inner` takes part. `same` holds a study in an engine against it: right to 1e-9, or task by task
with a warning where the engine was left open, or refused with the cure where it was asked for by name.
"""

import copy
import re
import warnings

import torch
from torch import nn

import quickstudy as qs

ENGINES = ("loop", "auto", "batched", "lowrank")
CURE = r"engine=.?(auto|loop)|'(auto|loop)'"
ONE_BY_ONE = "tasks run one by one"


def mlp(*middle, dx=2, hidden=3, dy=1):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(dx, hidden), *middle, nn.Tanh(), nn.Linear(hidden, dy))


def batch(num_tasks=2, support=4, query=3, dx=2, dy=1, seed=0):
    """Smooth functions of `dx` numbers that differ from task to task."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_tasks, support + query, dx, generator=generator, dtype=torch.float64)
    phase = torch.randn(num_tasks, 1, dy, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(-1, keepdim=True) + phase)
    return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]))


def masked(examples, sizes):
    """So many real points a task; the padding is NaN."""
    mask = torch.arange(examples.num_points) < torch.tensor(sizes)[:, None]
    fill = lambda a: torch.where(mask[..., None], a, torch.nan)  # noqa: E731
    return qs.Examples(fill(examples.x), fill(examples.y), mask)


def one(data, i):
    """Task `i`'s share of a tree of tensors; of `Examples`, the real points."""
    if isinstance(data, qs.Examples):
        real = slice(None) if data.mask is None else data.mask[i]
        return qs.Examples(data.x[i][real], data.y[i][real])
    return torch.utils._pytree.tree_map(lambda a: a[i] if isinstance(a, torch.Tensor) else a, data)


def squared(model, examples, outer=None):
    return (model(examples.x) - examples.y).square().sum(-1).mean()


def by_points(loss):
    """The objective of a loss per point."""
    return lambda model, examples, outer=None: loss(model(examples.x), examples.y).mean()


def holding(network, weights, buffers=None):
    """A deep copy of `network` whose parameters are these tensors, with whatever graph they have."""
    memo = {id(p): weights[k] for k, p in network.named_parameters() if k in weights}
    memo |= {id(b): buffers[k].clone() for k, b in network.named_buffers() if buffers is not None}
    for module in network.modules():  # what hooks have computed, and will compute again, cannot be copied
        memo |= {id(v): v for v in vars(module).values() if isinstance(v, torch.Tensor) and v.grad_fn is not None}
    return copy.deepcopy(network, memo)


class Inside:
    """The network itself, called with these weights in the place of its own: for what no copy of a module copies."""

    def __init__(self, network, weights, buffers=None):
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self.network, self.tensors = network, {id(own[k]): v for k, v in {**weights, **(buffers or {})}.items()}

    def __call__(self, *inputs, **options):
        places = [d for m in self.network.modules() for d in (m._parameters, m._buffers)]
        kept = [dict(d) for d in places]
        try:
            for d in places:
                d.update({k: self.tensors.get(id(t), t) for k, t in d.items()})
            return self.network(*inputs, **options)
        finally:
            for d, before in zip(places, kept, strict=True):
                d.update(before)

    def named_buffers(self):
        return self.network.named_buffers()


def adapt(
    network,
    data,
    *,
    steps=2,
    lr=0.1,
    objective=squared,
    outer=None,
    inputs=None,
    proximal=0.0,
    graph=True,
    hold=holding,
):
    """One task's weights, extra inputs and buffers after `steps` steps of gradient descent on `data`."""
    start = {**dict(network.named_parameters()), **(inputs or {})}
    names = set(inputs or {})
    weights, moving = dict(start), [k for k, p in start.items() if p.requires_grad or k in names]
    buffers = {k: b.clone() for k, b in network.named_buffers()}
    for _ in range(steps):
        leaves = {k: weights[k].view_as(weights[k]) for k in moving}
        leaves = {k: v if v.requires_grad else v.detach().requires_grad_() for k, v in leaves.items()}
        value, buffers = judge(network, {**weights, **leaves}, buffers, names, objective, data, outer, hold)
        grads = torch.autograd.grad(value, list(leaves.values()), create_graph=graph, allow_unused=True)
        for k, g in zip(moving, grads, strict=True):
            if g is not None:
                pull = proximal * (weights[k] - start[k])
                weights[k] = weights[k] - lr * (g + pull)
    return weights, buffers


def judge(network, weights, buffers, names, objective, data, outer=None, hold=holding):
    """The objective's value, without what it says besides, and the buffers that the pass leaves."""
    module = hold(network, weights, buffers)
    extra = {k: weights[k] for k in names}
    value = objective(lambda *a, **o: module(*a, **{**extra, **o}) if extra else module(*a, **o), data, outer)
    value = value[0] if isinstance(value, tuple) else value
    return value, {k: b.detach() for k, b in module.named_buffers()}


def adapted_modules(network, support, **options):
    """Every task's adapted network."""
    found = [adapt(network, one(support, i), graph=False, **options) for i in range(len(support.x))]
    return [holding(network, weights, buffers) for weights, buffers in found]


def expected(network, tasks, params=None, *, objective=squared, query_objective=None, outer=None, inputs=None, **how):
    """`[mean query loss, its gradients...]` with respect to `params`, by default all of the network that is learned."""
    params = learned(network) if params is None else params
    values = []
    for i in range(tasks.num_tasks):
        weights, buffers = adapt(network, one(tasks.support, i), objective=objective, outer=outer, inputs=inputs, **how)
        judged = query_objective or objective
        query, hold = one(tasks.query, i), how.get("hold", holding)
        values.append(judge(network, weights, buffers, set(inputs or {}), judged, query, outer, hold)[0])
    return with_gradients(torch.stack(values).mean(), params)


def learned(network):
    return [p for p in network.parameters() if p.requires_grad]


def with_gradients(value, params):
    grads = torch.autograd.grad(value, params, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True))]


def solved(network, tasks, params=None, *, proximal, lr, steps, objective=squared):
    """`[mean query loss, its gradients...]` where the inner problem is solved: by the Hessian itself, and no solver.

    u = (H + lambda)^-1 dV/dw at the solution w, and the gradient with respect to where w began is lambda u.
    """
    params = learned(network) if params is None else params
    names = [k for k, p in network.named_parameters() if p.requires_grad]
    total, values = [torch.zeros_like(p) for p in params], []
    for i in range(tasks.num_tasks):
        support, query = one(tasks.support, i), one(tasks.query, i)
        weights, buffers = adapt(
            network, support, steps=steps, lr=lr, objective=objective, proximal=proximal, graph=False
        )
        leaves = [weights[k].detach().clone().requires_grad_() for k in names]
        at = {**weights, **dict(zip(names, leaves, strict=True))}
        inner, _ = judge(network, at, buffers, set(), objective, support)
        outer, _ = judge(network, at, buffers, set(), objective, query)
        values.append(outer.detach())
        slopes = torch.autograd.grad(inner, leaves, create_graph=True, allow_unused=True)
        flat = torch.cat([(p * 0 if g is None else g).flatten() for g, p in zip(slopes, leaves, strict=True)])
        rows = [torch.autograd.grad(f, leaves, retain_graph=True, allow_unused=True) for f in flat]
        hessian = torch.stack([_flat(row, leaves) for row in rows])
        right = _flat(torch.autograd.grad(outer, leaves, allow_unused=True), leaves)
        u = proximal * torch.linalg.solve(hessian + proximal * torch.eye(len(flat)), right)
        for t, part in zip(total, u.split([p.numel() for p in leaves]), strict=True):
            t += part.view_as(t) / tasks.num_tasks
    return [torch.stack(values).mean(), *total]


def _flat(grads, like):
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(grads, like, strict=True)])


def meta(learner, tasks, params=None):
    """`[meta-loss, its gradients...]` of a learner."""
    return with_gradients(learner.meta_loss(tasks), learned(learner) if params is None else params)


def study(loop, tasks, objective=squared, outer=None, params=None):
    """`[mean query value, its gradients...]` of a bare inner loop."""
    found = loop(tasks.support, outer=outer).evaluate(objective, tasks.query)
    found = found[0] if isinstance(found, tuple) else found
    return with_gradients(found.mean(), learned(loop.network) if params is None else params)


def heard(function):
    """What a call gives, and the RuntimeWarnings that it says. (Torch's own hints about speed are no concern here.)"""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = function()
    return found, [str(w.message) for w in said if issubclass(w.category, RuntimeWarning)]


def same(engine, function, wanted, *, refusal=None, warning=None, close=None):
    """How `function()` came to be `wanted`: "silent", "warned" or "refused"; fails where it did not.

    Args:
        engine: "loop" must be silent; "auto" may warn that tasks run one by one; an engine asked for by name may
            refuse, naming the cure.
        function: runs the study in that engine.
        wanted: tensors.
        refusal: a pattern; any engine may raise an error that says so (options that need the fast path).
        warning: a pattern; any engine may warn so (options that were left out, at no cost to the numbers).
        close: how to compare, by default to 1e-9.
    """
    try:
        found, said = heard(function)
    except (RuntimeError, ValueError) as error:
        told = str(error)
        if refusal is not None and re.search(refusal, told):
            return "refused"
        if engine in ("batched", "lowrank") and re.search(CURE, told):
            return "refused"
        raise
    (close or assert_close)(found, wanted)
    other = [line for line in said if warning is None or not re.search(warning, line)]
    if engine == "auto":
        assert all(ONE_BY_ONE in line for line in other), said
    else:
        assert not other, said
    return "warned" if said else "silent"


def only_one_by_one(engine, function, wanted):
    """As `same`, of what torch cannot run for all tasks at once: "auto" says so, a vectorised engine refuses."""
    outcome = {"loop": "silent", "auto": "warned", "batched": "refused", "lowrank": "refused"}
    assert same(engine, function, wanted) == outcome[engine]


def assert_close(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
