"""Where torch takes no gradient, inner ones are taken all the same; and what was made there serves elsewhere."""

import copy

import pytest
import torch
from inner.crashes.oracle import (
    ENGINES,
    adapted_modules,
    assert_close,
    batch,
    expected,
    heard,
    learned,
    masked,
    meta,
    mlp,
    one,
    squared,
    with_gradients,
)
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


every_engine = pytest.mark.parametrize("engine", ENGINES)
close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)  # noqa: E731


def predicted(network, support, x, **how):
    modules = adapted_modules(network, support, **how)
    return torch.stack([m(p) for m, p in zip(modules, x, strict=True)]).detach()


def each_value(network, support, data, objective, outer, **how):
    modules = adapted_modules(network, support, objective=objective, outer=outer, **how)
    return torch.stack([objective(m, one(data, i), outer) for i, m in enumerate(modules)]).detach()


def weighted(model, data, outer):
    x, y = data[0], data[1]
    return (outer["weights"] * (model(x) - y).square().sum(-1)).mean() + outer["penalty"] * model(x).square().mean()


@every_engine
def test_batch_and_outer(engine):
    """Data from a function of the step, made inside; shared tensors from outside."""
    network, tasks = mlp(), batch()
    outer = {"weights": torch.linspace(0.5, 1.5, 4), "penalty": torch.tensor(0.3)}
    loop = qs.inner_loop(network, objective=weighted, lr=0.1, steps=2, engine=engine)
    wanted = each_value(network, tasks.support, tasks.support, weighted, outer)
    means = predicted(network, tasks.support, tasks.query.x, objective=weighted, outer=outer)
    with torch.inference_mode():
        adapted = loop(batch=lambda step, adapted: (tasks.support.x * 1, tasks.support.y + 0), num_tasks=2, outer=outer)
        close(adapted.evaluate(weighted, (tasks.support.x, tasks.support.y), outer), wanted)
        close(adapted(tasks.query.x), means)


@every_engine
def test_outer_made_inside(engine):
    network, tasks = mlp(), batch()
    loop = qs.inner_loop(network, objective=weighted, lr=0.1, steps=2, engine=engine)
    with torch.inference_mode():
        outer = {"weights": torch.linspace(0.5, 1.5, 4), "penalty": torch.tensor(0.3)}
        found = loop(tasks.support, outer=outer).evaluate(weighted, tasks.support, outer)
        given = loop(tasks.support, outer=outer).evaluate(weighted, tasks.support)
    wanted = each_value(network, tasks.support, tasks.support, weighted, {k: torch.clone(v) for k, v in outer.items()})
    close(found.clone(), wanted)
    close(given.clone(), wanted)


@every_engine
def test_outer_that_is_learned(engine):
    """A parameter outside, where no gradient is wanted inside."""
    network, tasks = mlp(), batch()
    outer = {"weights": nn.Parameter(torch.linspace(0.5, 1.5, 4)), "penalty": nn.Parameter(torch.tensor(0.3))}
    loop = qs.inner_loop(network, objective=weighted, lr=0.1, steps=2, engine=engine)
    with torch.inference_mode():
        found = loop(tasks.support, outer=outer).evaluate(weighted, tasks.support, outer)
    close(found.clone(), each_value(network, tasks.support, tasks.support, weighted, outer))


@every_engine
def test_batch_that_asks_the_adapted_networks(engine):
    """As in reinforcement learning: data depend on what has been adapted so far."""
    network, tasks = mlp(), batch()
    wanted = []
    for i in range(2):
        module = copy.deepcopy(network)
        for _ in range(2):
            x, y, _ = one(tasks.support, i)
            target = (module(x) * 0.5 + y).detach()
            grads = torch.autograd.grad((module(x) - target).square().sum(-1).mean(), list(module.parameters()))
            with torch.no_grad():
                for p, g in zip(module.parameters(), grads, strict=True):
                    p -= 0.1 * g
        wanted.append(module(tasks.query.x[i]).detach())
    loop = qs.inner_loop(network, lr=0.1, steps=2, engine=engine)

    def data(step, adapted):
        return qs.Examples(tasks.support.x, adapted(tasks.support.x) * 0.5 + tasks.support.y)

    with torch.inference_mode():
        found = loop(batch=data, num_tasks=2)(tasks.query.x)
    close(found.clone(), torch.stack(wanted))


@every_engine
def test_everything_of_a_predictor(engine):
    network, tasks = mlp(), batch()
    wanted = predicted(network, tasks.support, tasks.query.x)
    union = qs.Examples(*(torch.cat([a, b], 1) for a, b in zip(tasks.support[:2], tasks.query[:2], strict=True)))
    of_both = predicted(network, union, tasks.query.x)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    with torch.inference_mode():
        predict = learner.adapt(tasks.support)
        close(predict(tasks.query.x).mean, wanted)
        close(predict.task(1)(tasks.query.x[1]), wanted[1])
        close(predict.append(tasks.query)(tasks.query.x).mean, of_both)
        close(predict.adapted.losses(tasks.query), (wanted - tasks.query.y).square().sum(-1).mean(1))
        close(learner.adapt(tasks.support, steps=0)(tasks.query.x).mean, network(tasks.query.x))
        close(learner.adapt(tasks.support.first(0))(tasks.query.x).mean, network(tasks.query.x))
    close(predict(tasks.query.x).mean.detach(), wanted)
    close(predict.append(tasks.query)(tasks.query.x).mean.detach(), of_both)


@every_engine
@pytest.mark.parametrize("made", ["before the steps", "at each step", "as a tree"])
def test_batch_made_inside(engine, made):
    """Tensors that torch calls inference tensors, handed out step by step."""
    network, tasks = mlp(), batch()
    loop = qs.inner_loop(network, objective=of_a_tree, lr=0.1, steps=2, engine=engine)
    means = predicted(network, tasks.support, tasks.query.x)
    with torch.inference_mode():
        kept = batch().support
        give = {
            "before the steps": lambda step, adapted: {"points": (kept.x, kept.y)},
            "at each step": lambda step, adapted: {"points": batch().support[:2]},
            "as a tree": lambda step, adapted: {"points": [kept.x.clone(), kept.y], "step": torch.full((2,), step)},
        }[made]
        adapted = loop(batch=give, num_tasks=2)
        close(adapted(batch().query.x).clone(), means)
        values = adapted.evaluate(of_a_tree, {"points": batch().query[:2]}).clone()
    close(values.clone(), (means - tasks.query.y).square().sum(-1).mean(1))


def of_a_tree(model, data, outer):
    x, y = data["points"]
    return (model(x) - y).square().sum(-1).mean()


@every_engine
def test_tasks_made_inside(engine):
    """By a family, by a data loader, and used inside; outside, torch's own word is `clone`."""
    network, tasks = mlp(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    wanted = predicted(network, tasks.support, tasks.query.x)
    loss = expected(network, tasks)
    with torch.inference_mode():
        inside = batch()
        close(learner.adapt(inside.support)(inside.query.x).mean.clone(), wanted)
        close(learner.meta_loss(inside).clone(), loss[0])
    assert inside.support.x.is_inference()
    for ask in (
        lambda: close(learner.adapt(inside.support)(inside.query.x).mean.detach(), wanted),
        lambda: assert_close(meta(learner, inside), loss),
    ):
        try:
            ask()
        except RuntimeError as error:
            assert "clone" in str(error)
    outside = qs.Tasks(*(qs.Examples(e.x.clone(), e.y.clone()) for e in inside[:2]))
    assert_close(meta(learner, outside), loss)


@every_engine
def test_training_goes_on_after_a_first_call_inside(engine):
    """Nothing that was found out inside, or kept, is unfit for gradients outside."""
    network, tasks = mlp(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    loop = qs.inner_loop(network, objective=squared, lr=0.1, steps=2, engine=engine)
    with torch.inference_mode():
        learner.meta_loss(tasks)
        loop(tasks.support).evaluate(squared, tasks.query)
    wanted = expected(network, tasks)
    assert_close(meta(learner, tasks), wanted)
    found = loop(tasks.support).evaluate(squared, tasks.query).mean()
    assert_close(with_gradients(found, learned(network)), wanted)
    assert not any(t.is_inference() for t in (*network.parameters(), *network.buffers()))


@every_engine
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics(engine, training):
    """Judged inside, trained outside: buffers are no inference tensors afterwards."""
    network, tasks = mlp(nn.BatchNorm1d(3)).train(training), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    before = copy.deepcopy(dict(network.named_buffers()))
    with torch.inference_mode():
        learner.adapt(tasks.support)(tasks.query.x)
    assert all(torch.equal(b, before[k]) and not b.is_inference() for k, b in network.named_buffers())
    wanted = expected(network, tasks)
    with torch.inference_mode():
        close(learner.meta_loss(tasks), wanted[0])
    assert not any(b.is_inference() for b in network.buffers())
    network.load_state_dict({**network.state_dict(), **before})
    assert_close(meta(learner, tasks), wanted)


@pytest.mark.parametrize("sizes", [[4, 2], [0, 3]])
@every_engine
def test_unequal_tasks(engine, sizes):
    network, tasks = mlp(nn.BatchNorm1d(3)).eval(), batch()
    tasks = qs.Tasks(masked(tasks.support, sizes), masked(tasks.query, [2, 3]))
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    wanted = expected(network, tasks)[0]
    with torch.inference_mode():
        close(learner.meta_loss(tasks), wanted)
        learner.adapt(tasks.support)(tasks.query.clean().x)


class Fixed:
    """A family whose tasks are the same whoever draws them."""

    dx, dy = 2, 1

    def sample(self, num_tasks, *, support, query, split="train", generator=None):
        tasks = batch(num_tasks, support=4, query=query)
        return qs.Tasks(tasks.support.first(support), tasks.query)


@every_engine
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_evaluate(engine, mode):
    network = mlp()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    with mode():
        found = qs.evaluate(learner, Fixed(), tasks=2, support=[2, 4], steps=[0, 2], query=3)
    tasks = batch()
    for size in (2, 4):
        for steps in (0, 2):
            means = predicted(network, tasks.support.first(size), tasks.query.x, steps=steps)
            error = (means - tasks.query.y).square().mean().item()
            assert abs(found[f"mse/k={size}/steps={steps}"].mean - error) <= 1e-9


OPTIONS = {
    "checkpoints": {"checkpoint": "every"},
    "mixed mode": {"mixed_mode": True},
    "chunks": {"chunk": 1},
    "minibatches": {"minibatch": 4},
    "implicit": {"implicit": qs.Implicit(), "proximal": 0.7},
    "momentum": {"rule": qs.optimizers.SGD(0.1)},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_options(engine, option):
    network, tasks = mlp(), batch()
    options = {"lr": 0.1, **OPTIONS[option]}
    if "rule" in options:
        del options["lr"]
    learner = qs.MAML(network, steps=2, engine=engine, **options)
    wanted = predicted(network, tasks.support, tasks.query.x, proximal=options.get("proximal", 0.0))
    with torch.inference_mode():
        (belief, loss), said = heard(
            lambda: (learner.adapt(tasks.support)(tasks.query.x).mean, learner.meta_loss(tasks))
        )
    assert not said
    close(belief.clone(), wanted)
    close(loss.clone(), (wanted - tasks.query.y).square().sum(-1).mean())


class Inputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, context):
        return self.body(x + context)


@every_engine
def test_extra_inputs_and_learned_rates(engine):
    network, tasks = Inputs(), batch()
    rate = nn.Parameter(torch.tensor(0.1))
    options = {"adapt": "context", "inputs": {"context": nn.Parameter(torch.full((2,), 0.3))}}
    if engine == "lowrank":
        options.pop("adapt")
    learner = qs.MAML(network, rule=qs.optimizers.SGD(rate), steps=2, engine=engine, **options)
    wanted = learner.adapt(tasks.support)(tasks.query.x).mean
    with torch.inference_mode():
        close(learner.adapt(tasks.support)(tasks.query.x).mean, wanted)
        fresh = qs.MAML(network, rule=qs.optimizers.SGD(rate), steps=2, engine=engine, **options)
        close(fresh.adapt(tasks.support)(tasks.query.x).mean.clone(), wanted.clone())


@pytest.mark.parametrize(
    "make",
    [qs.FOMAML, qs.Reptile, qs.MAMLPlusPlus, qs.ANIL, qs.MetaSGD, qs.Pretrained, qs.BayesianMAML, qs.MetaCurvature],
    ids=lambda make: make.__name__,
)
def test_other_learners(make):
    """The same predictions inside and outside, whichever comes first."""
    beliefs = []
    for inside_first in (True, False):
        torch.manual_seed(3)
        network, tasks = mlp(), batch()
        options = {"particles": 2} if make is qs.BayesianMAML else {}
        learner = make(network, steps=2, **options)
        for inside in (inside_first, not inside_first):
            with torch.inference_mode(inside):
                predict, _ = heard(lambda: learner.adapt(tasks.support, generator=torch.Generator().manual_seed(0)))
                beliefs.append(predict(tasks.query.x).mean.clone().detach())
    for belief in beliefs[1:]:
        close(belief.clone(), beliefs[0].clone())


def test_a_network_made_inside_says_what_to_do_or_works():
    """Its parameters are inference tensors, which torch cannot differentiate."""
    tasks = batch()
    with torch.inference_mode():
        network = mlp()
    wanted = predicted(mlp(), tasks.support, tasks.query.x)
    try:
        with torch.inference_mode():
            found = qs.MAML(network, lr=0.1, steps=2).adapt(tasks.support)(tasks.query.x).mean.clone()
    except (RuntimeError, ValueError) as error:
        assert "inference" in str(error).lower() and "clone" in str(error)
        return
    close(found.clone(), wanted)
