"""What torch cannot run for all tasks at once: the open engine takes them one by one and says so, a named one refuses.

Also where nothing has been tried: no steps, no points, other objectives, other points, `evaluate`, `explain`.
"""

import contextlib
import copy
import math
import pickle

import numpy as np
import pytest
import torch
from inner.crashes.oracle import (
    CURE,
    ENGINES,
    ONE_BY_ONE,
    adapted_modules,
    assert_close,
    batch,
    expected,
    heard,
    learned,
    masked,
    meta,
    mlp,
    only_one_by_one,
    same,
    squared,
    study,
    with_gradients,
)
from scipy.optimize import linear_sum_assignment
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


# networks: each reads numbers out of a tensor, or makes a shape of them


def to_numpy(self, x):
    return self.body(x + float(np.median(x.detach().numpy())))


def to_list(self, x):
    return self.body(x * torch.tensor([sorted(row)[-1] for row in x.tolist()]).unsqueeze(-1))


def deep_copy(self, x):
    return self.body(copy.deepcopy(x) + x)


def sparse(self, x):
    return self.body((x @ x.T).relu().detach().to_sparse() @ x)


def item(self, x):
    return self.body(x / x.norm().item())


def item_of_a_weight(self, x):
    """Spectral scaling by a number: the number is of the task's own weight."""
    return self.body(x / max(1.0, self.body[0].weight.norm().item()))


def nonzero(self, x):
    places = (x.sum(1) > 0).nonzero().squeeze(1)
    return self.body(x) + self.body(x[places]).sum()


def unique(self, x):
    values, places = torch.unique((x > 0).long().sum(1), return_inverse=True)
    return self.body(x + values.to(x)[places, None].cos())


def bool_mask(self, x):
    return self.body(x) * self.body(x)[x[:, 0] >= x[:, 0].mean()].mean()


def masked_selection(self, x):
    return self.body(x) + torch.masked_select(self.body(x), x[:, :1] >= x[:, :1].mean()).square().mean()


def whole_number(self, x):
    return self.body(x.roll(int(x.abs().sum() * 10) % 3, 0))


def condition(self, x):
    return self.body(x if x.mean() > 0 else -x)


def assertion(self, x):
    h = self.body(x)
    assert torch.isfinite(h).all()
    return h


def fixed_point(self, x):
    z = torch.zeros_like(x)
    for _ in range(20):
        new = 0.3 * torch.tanh(z + x)
        if torch.allclose(new, z, atol=1e-3):
            break
        z = new
    return self.body(z)


def while_far(self, x):
    """An adaptive step, as solvers of differential equations take it."""
    h, t = self.body(x), 0.0
    while t < 1.0:
        dt = min(1.0 - t, 0.2 + 0.3 / (1.0 + float(h.detach().abs().max())))
        h, t = h - dt * h, t + dt
    return h + self.body(x)


def assignment(self, x):
    """Hungarian matching of what was computed, as in DETR."""
    cost = (x[:, None] - self.body(x)[None]).abs().sum(-1)
    order = linear_sum_assignment(cost.detach().numpy())[1]
    return self.body(x[torch.as_tensor(order)])


def python_function(self, x):
    return self.body(x.detach().clone().apply_(math.sin) + x)


def round_trip(self, x):
    return self.body(pickle.loads(pickle.dumps(x.detach())) + x)


def repetition(self, x):
    counts = (x[:, 0] > 0).long() + 1
    return self.body(x) + self.body(x.repeat_interleave(counts, 0)).mean()


def splits(self, x):
    sizes = [1, len(x) - 1] if x[0, 0].item() > 0 else [len(x)]
    return torch.cat([self.body(part) + part.mean() for part in x.split(sizes)])


def scratch(self, x):
    out = torch.zeros(len(x), 1)
    out[:, 0] = self.body(x).squeeze(1)
    return out


def counting(self, x):
    return self.body(x + torch.bincount((x[:, 0] > 0).long(), minlength=2).tolist()[1])


def text(self, x):
    return self.body(x * float(f"{x.abs().max():.2f}"))


def lookup(self, x):
    """A dictionary by value."""
    table = {True: 0.5, False: 2.0}
    return self.body(torch.stack([row * table[bool(row[0] > 0)] for row in x]))


def histogram(self, x):
    return self.body(x + torch.histc(x, 3, -2, 2)[:2].to(x))


def pseudo_inverse(self, x):
    return self.body(x @ torch.from_numpy(np.linalg.pinv(x.detach().numpy())) @ x + x)


NETWORKS = [
    to_numpy,
    to_list,
    deep_copy,
    sparse,
    item,
    item_of_a_weight,
    nonzero,
    unique,
    bool_mask,
    masked_selection,
    whole_number,
    condition,
    assertion,
    fixed_point,
    while_far,
    assignment,
    python_function,
    round_trip,
    repetition,
    splits,
    scratch,
    counting,
    text,
    lookup,
    pseudo_inverse,
]
MAYBE = [histogram]  # torch has a slow batching rule for some
named = lambda f: f.__name__  # noqa: E731


class Network(nn.Module):
    def __init__(self, forward, dx=2):
        super().__init__()
        self.body, self.does = mlp(dx=dx), forward

    def forward(self, x):
        return self.does(self, x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("forward", NETWORKS, ids=named)
def test_networks(engine, forward):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    only_one_by_one(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("forward", MAYBE, ids=named)
def test_networks_that_may_run_together(engine, forward):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    same(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


# networks that do something else where tasks run together: no error ever leaves them


def tries(self, x):
    try:
        scale = float(x.std())
    except RuntimeError:
        scale = 1.0
    return self.body(x * scale)


def suppresses(self, x):
    with contextlib.suppress(Exception):
        x = torch.from_numpy(np.sort(x.numpy(), 0))
    return self.body(x)


def only_where_it_can(self, x):
    """A library's guard: skip the clever part under transforms."""
    if not torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = x - x.mean(0, keepdim=True)
    return self.body(x)


def finds_a_transform(self, x):
    return self.body(x) * (1.0 if torch._C._functorch.peek_interpreter_stack() is None else 2.0)


def tries_its_weight(self, x):
    """Clips by the task's own weight, if it can be read."""
    try:
        norm = self.body[0].weight.norm().item()
    except Exception:
        norm = 1.0
    return self.body(x / norm)


def tries_in_place(self, x):
    out = torch.zeros(len(x), 1)
    try:
        out += self.body(x)
    except RuntimeError:
        out = self.body(x).detach() + self.body[2].bias
    return out


OTHERWISE = [tries, suppresses, only_where_it_can, finds_a_transform, tries_its_weight, tries_in_place]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("forward", OTHERWISE, ids=named)
def test_networks_that_do_otherwise_when_vectorised(engine, forward):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    only_one_by_one(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


ERRORS = [TypeError, ValueError, AttributeError, IndexError, NotImplementedError, AssertionError, ZeroDivisionError]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("error", ERRORS)
def test_errors_of_every_type_where_tasks_run_together(engine, error):
    """A library's own guard against transforms may raise anything; alone the network runs."""

    def guarded(self, x):
        if torch._C._functorch.is_functorch_wrapped_tensor(x):
            raise error("no transforms here")
        return self.body(x)

    network, tasks = Network(guarded), batch()
    wanted = expected(network, tasks)
    only_one_by_one(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


@pytest.mark.parametrize("forward", [tries, only_where_it_can, finds_a_transform], ids=named)
def test_what_differs_is_named(forward):
    network, tasks = Network(forward), batch()
    _, said = heard(lambda: qs.MAML(network, lr=0.1, steps=2).meta_loss(tasks))
    names = [name for name, _ in network.named_parameters()]
    assert said and any(name in said[0] for name in names), said
    with pytest.raises((RuntimeError, ValueError), match=CURE) as error:
        qs.MAML(network, lr=0.1, steps=2, engine="batched").meta_loss(tasks)
    assert any(name in str(error.value) for name in names), error.value


# losses and objectives


def keeps_a_log(model, examples, outer):
    value = squared(model, examples)
    LOG.append(value.item())
    return value


def mines_hard_points(model, examples, outer):
    losses = (model(examples.x) - examples.y).square().sum(-1)
    return losses[losses >= losses.median()].mean()


def stops_at_nan(model, examples, outer):
    value = squared(model, examples)
    if torch.isnan(value):
        raise FloatingPointError("the loss is not a number")
    return value


def scaled_by_its_size(model, examples, outer):
    value = squared(model, examples)
    return value / max(1e-3, float(value.detach()))


def of_some_points(model, examples, outer):
    kept = int((examples.y > 0).sum()) + 1
    return squared(model, qs.Examples(examples.x[:kept], examples.y[:kept]))


LOG = []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "objective", [keeps_a_log, mines_hard_points, stops_at_nan, scaled_by_its_size, of_some_points], ids=named
)
def test_objectives(engine, objective):
    network, tasks = mlp(), batch()
    wanted = expected(network, tasks, objective=objective)
    make = lambda: qs.inner_loop(network, objective=objective, lr=0.1, steps=2, engine=engine)  # noqa: E731
    only_one_by_one(engine, lambda: study(make(), tasks, objective), wanted)


def weighted_by_rank(output, y):
    order = np.argsort(y.squeeze(-1).numpy())
    return (output - y).square().sum(-1) * torch.as_tensor(order + 1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_losses_of_points(engine):
    network, tasks = mlp(), batch()
    wanted = expected(network, tasks, objective=lambda m, e, outer=None: weighted_by_rank(m(e.x), e.y).mean())
    make = lambda: qs.MAML(network, lr=0.1, steps=2, loss=weighted_by_rank, engine=engine)  # noqa: E731
    only_one_by_one(engine, lambda: meta(make(), tasks), wanted)


# it is said once, and everything else goes on


@pytest.mark.parametrize("forward", [item, to_numpy, bool_mask, tries], ids=named)
def test_it_is_said_once(forward):
    learner, tasks = qs.MAML(Network(forward), lr=0.1, steps=2), batch()
    _, first = heard(lambda: learner.meta_loss(tasks))
    _, second = heard(lambda: learner.meta_loss(tasks))
    assert len(first) == 1 and ONE_BY_ONE in first[0] and not second
    assert len(first[0]) > len(ONE_BY_ONE) + 10  # and why


@pytest.mark.parametrize(
    "options",
    [{"chunk": 1}, {"minibatch": 4}, {"checkpoint": "every"}, {"checkpoint": 2}, {"truncate": 2}, {"proximal": 0.0}],
    ids=str,
)
@pytest.mark.parametrize("forward", [item, unique, tries], ids=named)
def test_other_options_go_on(forward, options):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    same("auto", lambda: meta(qs.MAML(network, lr=0.1, steps=2, **options), tasks), wanted)


@pytest.mark.parametrize("forward", [item, nonzero, scratch, tries_its_weight], ids=named)
def test_mixed_mode_is_exact_or_refused(forward):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    make = lambda: qs.MAML(network, lr=0.1, steps=2, mixed_mode=True)  # noqa: E731
    same("auto", lambda: meta(make(), tasks), wanted, refusal="mixed_mode", warning="mixed_mode")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("forward", [to_list, condition, tries], ids=named)
def test_unequal_tasks(engine, forward):
    network, tasks = Network(forward), batch(num_tasks=3)
    tasks = qs.Tasks(masked(tasks.support, [4, 2, 3]), masked(tasks.query, [1, 3, 2]))
    wanted = expected(network, tasks)
    ask = lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks)  # noqa: E731
    if engine == "auto":  # in doubt by size, and then each of them is alone: nothing to say
        assert same(engine, ask, wanted) in ("warned", "silent")
    else:
        only_one_by_one(engine, ask, wanted)


# where nothing moves, nothing has been tried


FEW = [item, to_numpy, unique, bool_mask, scratch, condition, lookup]


@pytest.mark.parametrize("forward", [*FEW, *OTHERWISE], ids=named)
@pytest.mark.parametrize("way", ["no steps", "no points", "no steps in training", "no real points"])
def test_the_prior(forward, way):
    network, tasks = Network(forward), batch()
    support = tasks.support
    if way == "no points":
        support = support.first(0)
    if way == "no real points":
        support = masked(support, [0, 0])
    learner = qs.MAML(network, lr=0.1, steps=0 if way == "no steps in training" else 2)
    predict, _ = heard(lambda: learner.adapt(support, steps=0 if way == "no steps" else None))
    found, _ = heard(lambda: predict(tasks.query.x).mean)
    wanted = torch.stack([network(x) for x in tasks.query.x])
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-9, atol=1e-10)
    loss, _ = heard(lambda: meta(learner, qs.Tasks(support, tasks.query)))
    if way != "no steps":
        assert_close(loss, expected(network, tasks, steps=0))


@pytest.mark.parametrize("forward", FEW[:4], ids=named)
def test_a_named_engine_refuses_the_prior_in_words(forward):
    learner, tasks = qs.MAML(Network(forward), lr=0.1, engine="batched"), batch()
    with pytest.raises((RuntimeError, ValueError), match=CURE):
        learner.adapt(tasks.support, steps=0)(tasks.query.x)


class Fixed:
    """A family whose tasks are the same whoever draws them."""

    dx, dy = 2, 1

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        tasks = batch(num_tasks, support=4, query=query)
        return qs.Tasks(tasks.support.first(support), tasks.query)

    def __repr__(self):
        return "Fixed()"


@pytest.mark.parametrize("forward", [*FEW, tries], ids=named)
def test_evaluate(forward):
    network = Network(forward)
    learner = qs.MAML(network, lr=0.1, steps=2)
    options = {"tasks": 3, "support": [2, 4], "steps": [0, 2], "query": 3, "batch": 2}
    found, _ = heard(lambda: qs.evaluate(learner, Fixed(), **options))
    tasks = batch(3)
    for size in (2, 4):
        for steps in (0, 2):
            modules = adapted_modules(network, tasks.support.first(size), steps=steps)
            errors = [(m(x) - y).square().mean() for m, x, y in zip(modules, *tasks.query[:2], strict=True)]
            mean = found[f"mse/k={size}/steps={steps}"].mean
            assert abs(mean - torch.stack(errors).mean().item()) <= 1e-9


@pytest.mark.parametrize("forward", [item, tries], ids=named)
def test_explain(forward):
    learner, tasks = qs.MAML(Network(forward), lr=0.1, steps=2), batch()
    explanation, _ = heard(lambda: learner.explain(tasks))
    assert explanation.engine == "loop"
    _, after = heard(lambda: learner.meta_loss(tasks))
    assert len(after) <= 1


@pytest.mark.parametrize("forward", [item, bool_mask], ids=named)
def test_fit(forward, tmp_path):
    """Trains, judges and writes a run; what it says is said as a warning, and nothing is raised."""
    network = Network(forward)
    before = copy.deepcopy(network.state_dict())
    options = {"steps": 2, "tasks": 2, "support": 4, "query": 3, "validation_tasks": 2, "evaluate_every": 1}
    heard(lambda: qs.fit(qs.MAML(network, lr=0.1, steps=2), Fixed(), out=tmp_path / "run", **options))
    assert any(not torch.equal(v, before[k]) for k, v in network.state_dict().items())


# adapted by a loss that runs together, asked for something that does not


def of_the_largest(model, examples, outer):
    u = model(examples.x)
    return u[int(u.detach().abs().argmax())].square().sum()


def of_numpy(model, examples, outer):
    order = np.argsort(model(examples.x).detach().numpy(), 0)[:, 0].copy()
    return (model(examples.x)[torch.as_tensor(order)] * torch.arange(len(order))[:, None]).sum()


def of_a_list(model, examples, outer):
    return model(examples.x * max(examples.y.flatten().tolist())).mean()


def of_a_trial(model, examples, outer):
    try:
        return model(examples.x).mean() * float(examples.y.sum())
    except RuntimeError:
        return model(examples.x).mean()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("objective", [of_the_largest, of_numpy, of_a_list, of_a_trial], ids=named)
def test_other_objectives_of_what_was_adapted(engine, objective):
    network, tasks = mlp(), batch()
    wanted = expected(network, tasks, query_objective=objective)

    def asked():
        adapted = qs.inner_loop(network, lr=0.1, steps=2, engine=engine)(tasks.support)
        return with_gradients(adapted.evaluate(objective, tasks.query).mean(), learned(network))

    only_one_by_one(engine, asked, wanted)


def unlike_at_three(self, x):
    """Support sets of four run together; three query points do not."""
    return self.body(x * x.abs().max().item() if len(x) == 3 else x)


def unlike_at_four(self, x):
    return self.body(x * x.abs().max().item() if len(x) == 4 else x)


def unlike_in_silence(self, x):
    return tries(self, x) if len(x) == 3 else self.body(x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("forward", [unlike_at_three, unlike_at_four, unlike_in_silence], ids=named)
def test_only_some_points_do_not_run_together(engine, forward):
    network, tasks = Network(forward), batch()
    wanted = expected(network, tasks)
    only_one_by_one(engine, lambda: meta(qs.MAML(network, lr=0.1, steps=2, engine=engine), tasks), wanted)


@pytest.mark.parametrize("forward", [unlike_at_three, unlike_in_silence], ids=named)
def test_predictions_at_points_unlike_the_support(forward):
    network, tasks = Network(forward), batch()
    modules = adapted_modules(network, tasks.support)
    wanted = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)]).detach()
    predict, _ = heard(lambda: qs.MAML(network, lr=0.1, steps=2).adapt(tasks.support))
    found, said = heard(lambda: predict(tasks.query.x).mean)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    assert all(ONE_BY_ONE in line for line in said)


@pytest.mark.parametrize("make", [qs.FOMAML, qs.Reptile, qs.MAMLPlusPlus, qs.ANIL, qs.MetaSGD, qs.Pretrained])
def test_other_learners(make):
    """Whoever else runs an inner loop: the same numbers as one by one."""
    found = []
    for engine in ("loop", "auto"):
        network, tasks = Network(condition), batch()
        learner = make(network, lr=0.1, steps=2, engine=engine)
        predict, _ = heard(lambda: learner.adapt(tasks.support))
        belief, _ = heard(lambda: predict(tasks.query.x).mean)
        if make is qs.Pretrained:  # which shows the network all points of all tasks together
            found.append([belief])
            continue
        loss, _ = heard(lambda: learner.meta_loss(tasks))
        found.append([belief, *with_gradients(loss, learned(learner))])
    assert_close(*found)
