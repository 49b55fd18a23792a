"""The inner loop around its gradient: data types, dropout, running statistics, contexts, copies, the smallest cases."""

import copy
import itertools
import pickle

import pytest
import torch
from inner.grid import ENGINES, InContext, assert_close, batch, mlp
from torch import nn
from torch.func import functional_call

import quickstudy as qs
from quickstudy.gradient.maml import MAML
from quickstudy.inner.optimizers import SGD, Adam, RMSProp
from quickstudy.inner.rates import Rates

OPTIONS = {
    "plain": {},
    "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2},
    "first order": {"first_order": True},
    "implicit": {"implicit": qs.Implicit(iterations=10), "proximal": 5.0},
}
every_engine = pytest.mark.parametrize("engine", ENGINES[:3])  # "auto" mixes the second and the third
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)


def cast(tasks, dtype):
    return qs.Tasks(*(qs.Examples(e.x.to(dtype), e.y.to(dtype), e.mask) for e in tasks[:2]))


def gradient(learner, tasks):
    return torch.autograd.grad(learner.meta_loss(tasks), [p for p in learner.parameters() if p.requires_grad])


def flat(tensors):
    return torch.cat([t.flatten().float() for t in tensors])


# data types


@pytest.mark.parametrize("engine", ENGINES)
@every_option
def test_bfloat16_is_float32_with_fewer_digits(engine, options):
    """Eight bits of mantissa: an error of 2^-8 in a number, and of a few times that after three steps."""
    tasks = batch()
    network = mlp(nn.LayerNorm(6))
    expected = gradient(MAML(network, lr=0.1, steps=3, engine="loop", **options), tasks)
    learner = MAML(copy.deepcopy(network).bfloat16(), lr=0.1, steps=3, engine=engine, **options)
    loss = learner.meta_loss(cast(tasks, torch.bfloat16))
    found = torch.autograd.grad(loss, list(learner.parameters()))
    assert loss.dtype == torch.bfloat16 and {g.dtype for g in found} == {torch.bfloat16}
    assert (flat(found) - flat(expected)).norm() <= 16 * 2**-8 * flat(expected).norm()
    adapted = learner.adapt(tasks.support._replace(x=tasks.support.x.bfloat16(), y=tasks.support.y.bfloat16()))
    assert {v.dtype for v in adapted.adapted.params.values()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "rule",
    [
        lambda net: SGD([0.1, 0.05], momentum=0.9, weight_decay=0.1),
        lambda net: SGD(torch.tensor([0.1, 0.2])),  # single precision
        lambda net: SGD(Rates(net, 0.1, per="layer", steps=2)),
        lambda net: SGD(Rates(net, 0.1, per="parameter")),
        lambda net: Adam(0.01),
        lambda net: RMSProp(Rates(net, 0.01)),
    ],
)
def test_rules_keep_the_data_type(dtype, rule):
    network = mlp().to(dtype)
    learner = MAML(network, rule=rule(network), steps=3)
    tasks = cast(batch(), dtype)
    assert {v.dtype for v in learner.adapt(tasks.support).adapted.params.values()} == {dtype}
    assert {g.dtype for g in gradient(learner, tasks)} == {dtype}


def test_a_rate_in_single_precision_is_that_number_in_every_engine(double):
    rate, tasks = torch.tensor(0.1, dtype=torch.float32), batch()
    network = mlp()
    expected = gradient(MAML(network, lr=rate.double(), steps=3, engine="loop"), tasks)
    for engine in ENGINES:
        assert_close(gradient(MAML(network, lr=rate, steps=3, engine=engine), tasks), expected)


@every_engine
def test_mixed_precision_inside_the_network(engine):
    """Autocast to bfloat16 in the forward pass: the gradient is that of float32, with fewer digits."""

    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = mlp()

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.network(x).float()

    network, tasks = Cast(), batch()
    expected = gradient(MAML(network.network, lr=0.1, steps=2, engine="loop"), tasks)
    found = gradient(MAML(network, lr=0.1, steps=2, engine=engine), tasks)
    assert (flat(found) - flat(expected)).norm() <= 16 * 2**-8 * flat(expected).norm()


# dropout: of three equal tasks, those with the same masks come out equal


def equal_tasks():
    return qs.Tasks(*(qs.Examples(*(t[:1].expand(3, *t.shape[1:]) for t in e[:2])) for e in batch()[:2]))


@every_engine
@every_option
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_dropout_while_adapting(double, engine, options, randomness):
    learner = MAML(mlp(nn.Dropout(0.5)), lr=0.1, steps=3, engine=engine, randomness=randomness, **options)

    def adapted(seed):
        torch.manual_seed(100)
        before = torch.get_rng_state()
        found = learner.adapt(equal_tasks().support, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)  # the generator's numbers, not torch's
        return found.adapted.params["0.weight"]

    first = adapted(0)
    assert torch.equal(first, adapted(0)) and not torch.equal(first, adapted(1))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert torch.allclose(first[i], first[j]) == (randomness == "same")
    learner.eval()
    assert torch.equal(adapted(0), adapted(1))


@every_engine
@every_option
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_dropout_in_the_meta_loss(double, engine, options, randomness):
    learner = MAML(mlp(nn.Dropout(0.5)), lr=0.1, steps=3, engine=engine, randomness=randomness, **options)
    tasks = equal_tasks()

    def drawn(seed):
        torch.manual_seed(seed)
        loss = learner.meta_loss(tasks)
        torch.rand(2)  # what is drawn before the way back does not matter
        return loss, flat(torch.autograd.grad(loss, list(learner.parameters())))

    (loss, grads), (again, grads_again), (other, _) = drawn(0), drawn(0), drawn(1)
    assert torch.equal(loss, again) and torch.equal(grads, grads_again) and not torch.equal(loss, other)
    torch.manual_seed(0)
    losses = learner.inner(tasks.support).losses(tasks.query)
    torch.testing.assert_close(losses.mean(), loss)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert torch.allclose(losses[i], losses[j]) == (randomness == "same")


@every_engine
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_every_step_drops_anew(double, engine, randomness):
    """With one point and dropout on the inputs, a step moves the weights of the inputs that were kept."""
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1))
    loop = qs.inner_loop(network, lr=0.1, engine=engine, randomness=randomness)
    support = equal_tasks().support.first(1)
    weights = [network[1].weight.detach().expand(3, 1, 6)]
    for steps in (1, 2, 3):
        torch.manual_seed(0)
        weights.append(loop(support, steps=steps, create_graph=False).params["1.weight"])
    kept = [b != a for a, b in itertools.pairwise(weights)]
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[1], kept[2])


# running statistics


def alone(tasks, i):
    support = tasks.support.select(i)
    points = support.x.shape[1] if support.mask is None else int(support.mask.sum())
    return qs.Tasks(qs.Examples(support.x[:, :points], support.y[:, :points]), tasks.query.select(i))


@every_engine
@every_option
@pytest.mark.parametrize("data", ["all points", "unequal"])
def test_running_statistics_stay_with_their_task(double, engine, options, data):
    network, tasks = mlp(nn.BatchNorm1d(6)), batch(data)
    learner = MAML(network, lr=0.1, steps=3, engine=engine, **options)
    start = {k: b.clone() for k, b in network.named_buffers()}
    together = learner.adapt(tasks.support)
    mean = together(tasks.query.x).mean
    for i in range(3):
        one = learner.adapt(alone(tasks, i).support)
        for name, buffer in one.adapted.buffers.items():
            torch.testing.assert_close(together.adapted.buffers[name][i], buffer[0])
        torch.testing.assert_close(mean[i], one(tasks.query.x[i : i + 1]).mean[0])
    assert all(torch.equal(b, start[k]) for k, b in network.named_buffers())  # adapting leaves the learner's own alone


@every_engine
@every_option
@pytest.mark.parametrize("data", ["all points", "unequal"])
def test_a_meta_loss_leaves_the_mean_of_the_tasks_statistics(double, engine, options, data):
    network, tasks = mlp(nn.BatchNorm1d(6)), batch(data)
    start = copy.deepcopy(network.state_dict())
    learner = MAML(network, lr=0.1, steps=3, engine=engine, **options)
    means, count = [], 0
    for i in range(3):
        network.load_state_dict(start)
        learner.meta_loss(alone(tasks, i))
        means.append(network[1].running_mean.clone())
        count = network[1].num_batches_tracked.item()
    network.load_state_dict(start)
    loss = learner.meta_loss(tasks)
    torch.testing.assert_close(network[1].running_mean, torch.stack(means).mean(0))
    assert count == network[1].num_batches_tracked == 4  # three steps and the query points
    learner.eval()
    left = {k: b.clone() for k, b in network.named_buffers()}
    learner.meta_loss(tasks)
    assert all(torch.equal(b, left[k]) for k, b in network.named_buffers())
    assert loss.isfinite()


# contexts


@pytest.mark.parametrize("engine", ["batched", "lowrank", "auto"])
@every_option
def test_without_grad_the_loss_is_the_same(double, engine, options):
    learner, tasks = MAML(mlp(), lr=0.1, steps=3, engine=engine, **options), batch()
    with torch.no_grad():
        quiet = learner.meta_loss(tasks)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, learner.meta_loss(tasks).detach())


def test_transforms_of_torch_func(double):
    learner, tasks = MAML(mlp(), lr=0.1, steps=2), batch()
    params = {k: p.detach() for k, p in learner.named_parameters()}
    expected = gradient(learner, tasks)
    found = torch.func.grad(lambda p: functional_call(learner, p, (tasks,)))(params)
    assert_close(list(found.values()), expected)

    def of_bias(bias):
        return functional_call(learner, {**params, "network.2.bias": bias}, (tasks,))

    bias, last = params["network.2.bias"], expected[-1]
    torch.testing.assert_close(torch.func.jvp(of_bias, (bias,), (torch.ones(1),))[1], last.sum())
    torch.testing.assert_close(torch.func.jacrev(of_bias)(bias), last)
    torch.testing.assert_close(
        torch.func.vmap(of_bias)(torch.stack([bias, bias + 1])), torch.stack([of_bias(bias), of_bias(bias + 1)])
    )
    torch.testing.assert_close(torch.func.hessian(of_bias)(bias), torch.autograd.functional.hessian(of_bias, bias))


@every_engine
def test_parameters_from_outside(double, engine):
    """functional_call puts other tensors in the parameters' place, learned rates and the noise included."""
    network, tasks = mlp(), batch()
    rule, noise = SGD(Rates(network, 0.1, per="layer")), qs.likelihoods.Gaussian(0.8, learn=True)
    learner = MAML(network, rule=rule, likelihood=noise, steps=3, engine=engine)
    other = {k: (p * 1.1).detach().requires_grad_() for k, p in learner.named_parameters()}
    found = torch.autograd.grad(functional_call(learner, other, (tasks,)), list(other.values()))
    with torch.no_grad():
        for name, p in learner.named_parameters():
            p.copy_(other[name])
    assert_close(found, gradient(learner, tasks))


# copies


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"lr": 0.1, "engine": "lowrank", "mixed_mode": True, "checkpoint": "sqrt"},
        {"lr": 0.1, "implicit": qs.Implicit(), "proximal": 1.0},
        {"rule": Adam(Rates(mlp(), 0.1, per="layer"))},
        {"lr": 0.1, "likelihood": qs.likelihoods.Gaussian(0.5, learn=True)},
    ],
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda learner: pickle.loads(pickle.dumps(learner))])
def test_copies_are_complete_and_independent(options, duplicate):
    tasks = batch()
    learner = MAML(mlp(), steps=3, **options)
    expected = learner.meta_loss(tasks)
    other = duplicate(learner)
    torch.testing.assert_close(other.meta_loss(tasks), expected)
    with torch.no_grad():
        other.network[0].weight.zero_()
    assert other.meta_loss(tasks) != expected
    torch.testing.assert_close(learner.meta_loss(tasks), expected)


def test_a_copy_has_a_context_of_its_own():
    learner = MAML(InContext(mlp()), lr=0.1, inputs={"context": nn.Parameter(torch.zeros(6))})
    expected, other = learner.meta_loss(batch()), copy.deepcopy(learner)
    with torch.no_grad():
        other.inputs["context"].add_(1.0)
    assert other.meta_loss(batch()) != expected
    torch.testing.assert_close(learner.meta_loss(batch()), expected)


def test_a_meta_learned_context_is_a_parameter_and_a_fixed_one_is_not_learned():
    for context in (torch.zeros(6), nn.Parameter(torch.zeros(6))):
        learner = MAML(InContext(mlp()), lr=0.1, inputs={"context": context})
        learner.meta_loss(batch()).backward()
        found = dict(learner.named_parameters()).get("inputs.context")
        assert (found is not None and found.grad is not None) == isinstance(context, nn.Parameter)
        assert "inputs.context" in learner.state_dict()
        assert learner.double().inputs["context"].dtype == torch.float64


@pytest.mark.parametrize("engine", ["batched", "lowrank"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda adapted: pickle.loads(pickle.dumps(adapted))])
def test_what_was_adapted_can_be_copied(engine, duplicate):
    adapted = qs.inner_loop(mlp(), lr=0.1, steps=2, engine=engine)(batch().support, create_graph=False)
    assert torch.equal(duplicate(adapted)(batch().query.x), adapted(batch().query.x))


# the smallest cases


@every_option
def test_one_task_of_one_point(double, options):
    tasks, network = batch().select(0), mlp()
    tasks = qs.Tasks(tasks.support.first(1), tasks.query.first(1))
    expected = gradient(MAML(network, lr=0.1, steps=3, engine="loop", **options), tasks)
    for engine in ("batched", "lowrank", "auto"):
        assert_close(gradient(MAML(network, lr=0.1, steps=3, engine=engine, **options), tasks), expected)


@every_engine
@pytest.mark.parametrize("empty", ["no steps", "no points", "no real points"])
@pytest.mark.parametrize("rule", [SGD(0.1, momentum=0.9, weight_decay=0.5), SGD(0.0)])
def test_without_steps_or_points_there_is_the_prior(double, engine, empty, rule):
    network, tasks, steps = mlp(), batch(), 0 if empty == "no steps" else 3
    if empty == "no points":
        tasks = qs.Tasks(tasks.support.first(0), tasks.query)
    if empty == "no real points":
        tasks = batch("unequal", sizes=(0, 0, 0))
    expected = [(network(x) - y).square().sum(-1).mean() for x, y in zip(*tasks.query[:2], strict=True)]
    learner = MAML(network, rule=rule, steps=steps, engine=engine)
    loss = learner.meta_loss(tasks)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    params = list(network.parameters())
    assert_close(torch.autograd.grad(loss, params), torch.autograd.grad(sum(expected) / 3, params))
    torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean, network(tasks.query.x))


@every_engine
def test_many_steps_are_few_steps_repeated(double, engine):
    """Without momentum a loop can be cut in two: the second half starts where the first has led."""
    network, support = mlp(), batch().support.select(0)
    loop = qs.inner_loop(network, lr=0.1, engine=engine)
    whole = loop(support, steps=7, create_graph=False)
    half = loop(support, steps=3, create_graph=False).module(0)
    rest = qs.inner_loop(half, lr=0.1, engine=engine)(support, steps=4, create_graph=False)
    for name, value in whole.params.items():
        torch.testing.assert_close(value, rest.params[name])
