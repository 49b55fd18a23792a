"""The meta-gradient against finite differences and against plain unrolling, for layers that break others."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quickstudy import likelihoods
from quickstudy.data import Examples, Tasks
from quickstudy.gradient.maml import MAML
from quickstudy.gradient.pretrained import Pretrained


class Attention(nn.Module):
    """Self-attention over the points of a set."""

    def __init__(self):
        super().__init__()
        self.enter, self.mix, self.leave = (
            nn.Linear(6, 8),
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.Linear(8, 1),
        )

    def forward(self, x):
        h = self.enter(x)
        return self.leave(torch.tanh(h + self.mix(h, h, h, need_weights=False)[0]))


class Sequence(nn.Module):
    """A GRU over the features of a point."""

    def __init__(self):
        super().__init__()
        self.rnn, self.leave = nn.GRU(1, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x):
        return self.leave(self.rnn(x.unsqueeze(-1))[0][:, -1])


class Tied(nn.Module):
    """One weight used twice, under two names."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.leave = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.leave(torch.tanh(self.two(torch.tanh(self.one(x)))))


def mlp(*middle):
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Tanh(), nn.Linear(8, 1))


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 1)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(24, 1),
    )


NETWORKS = {
    "MLP": lambda: mlp(),
    "LayerNorm": lambda: mlp(nn.LayerNorm(8)),
    "BatchNorm": lambda: mlp(nn.BatchNorm1d(8)),
    "BatchNorm without statistics": lambda: mlp(nn.BatchNorm1d(8, track_running_stats=False)),
    "GroupNorm": lambda: mlp(nn.GroupNorm(2, 8)),
    "InstanceNorm": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 2),
        nn.InstanceNorm1d(4, affine=True),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(20, 1),
    ),
    "conv": conv,
    "attention": Attention,
    "GRU": Sequence,
    "tied": Tied,
}
ENGINES = ("batched", "loop")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def tasks_for(seed=0):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(4, 10, 6, generator=g), torch.randn(4, 10, 1, generator=g)
    return Tasks(Examples(x[:, :5], y[:, :5]), Examples(x[:, 5:], y[:, 5:]))


def unit_direction(params):
    direction = [torch.randn_like(p) for p in params]
    norm = sum(d.square().sum() for d in direction).sqrt()
    return [d / norm for d in direction]


def unrolled_loss(network, tasks, lr, steps):
    """MAML by its definition, one task at a time: the oracle, which shares no code with the engines."""
    total = 0.0
    for t in range(tasks.num_tasks):
        params = dict(network.named_parameters())
        for _ in range(steps):
            output = torch.func.functional_call(network, params, (tasks.support.x[t],))
            loss = F.mse_loss(output, tasks.support.y[t])
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {k: p - lr * g for (k, p), g in zip(params.items(), grads, strict=True)}
        output = torch.func.functional_call(network, params, (tasks.query.x[t],))
        total = total + F.mse_loss(output, tasks.query.y[t])
    return total / tasks.num_tasks


@pytest.mark.parametrize(("layer", "engine", "steps"), list(itertools.product(NETWORKS, ENGINES, (1, 3))))
def test_meta_gradient_is_the_finite_difference(layer, engine, steps):
    if layer == "GRU" and engine == "batched":
        pytest.skip("torch has no batching rule for GRU; 'auto' picks the loop, tested below")
    torch.manual_seed(0)
    network = NETWORKS[layer]()
    learner, tasks = MAML(network, lr=0.1, steps=steps, engine=engine), tasks_for()
    params = list(learner.parameters())
    direction = unit_direction(params)
    start = [p.detach().clone() for p in params]

    def along(h):
        with torch.no_grad():
            for p, s, d in zip(params, start, direction, strict=True):
                p.copy_(s + h * d)
        return learner.meta_loss(tasks).item()

    grads = torch.autograd.grad(learner.meta_loss(tasks), params)
    found = sum((g * d).sum() for g, d in zip(grads, direction, strict=True)).item()
    h = 1e-5
    slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    assert abs(found - slope) <= 1e-6 * abs(slope)


@pytest.mark.parametrize(
    ("layer", "engine"), list(itertools.product(sorted(set(NETWORKS) - {"attention", "GRU"}), ENGINES))
)
def test_meta_gradient_is_plain_unrolling(layer, engine):
    torch.manual_seed(0)
    network = NETWORKS[layer]()
    learner, tasks = MAML(network, lr=0.1, steps=2, engine=engine), tasks_for()
    found = torch.autograd.grad(learner.meta_loss(tasks), list(network.parameters()))
    expected = torch.autograd.grad(unrolled_loss(network, tasks, 0.1, 2), list(network.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_first_order_drops_exactly_the_second_derivative():
    torch.manual_seed(0)
    network, tasks, lr = mlp(), tasks_for(), 0.1
    found = torch.autograd.grad(MAML(network, lr=lr, first_order=True).meta_loss(tasks), list(network.parameters()))
    expected = [torch.zeros_like(p) for p in network.parameters()]
    for t in range(4):
        loss = F.mse_loss(network(tasks.support.x[t]), tasks.support.y[t])
        grads = torch.autograd.grad(loss, list(network.parameters()))
        moved = {
            k: (p - lr * g).detach().requires_grad_()
            for (k, p), g in zip(network.named_parameters(), grads, strict=True)
        }
        loss = F.mse_loss(torch.func.functional_call(network, moved, (tasks.query.x[t],)), tasks.query.y[t])
        for total, g in zip(expected, torch.autograd.grad(loss, list(moved.values())), strict=True):
            total += g / 4
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_recurrent_networks_run_in_a_loop():
    assert MAML(Sequence()).engine == "loop"
    assert MAML(mlp()).engine == "batched"


def test_frozen_parameters_are_left_alone():
    network = mlp()
    network[0].requires_grad_(False)
    predictor = MAML(network, lr=0.1).adapt(tasks_for().support)
    assert torch.equal(predictor.task(0)[0].weight, network[0].weight)
    assert not torch.equal(predictor.task(0)[-1].weight, network[-1].weight)


def test_a_network_frozen_throughout_adapts_to_nothing():
    learner, tasks = MAML(mlp(), lr=0.1), tasks_for()
    learner.requires_grad_(False)
    adapted, prior = (learner.adapt(tasks.support, steps=n)(tasks.query.x).mean for n in (3, 0))
    assert torch.equal(adapted, prior)


def test_a_parameter_the_loss_does_not_reach_stays_as_it_is():
    network = mlp()
    network.spare = nn.Parameter(torch.ones(2))

    class Sidestep(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network

        def forward(self, x):
            return self.inside(x)

    learner = MAML(Sidestep(), lr=0.1)
    loss = learner.meta_loss(tasks_for())
    grads = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True)
    spare = [k for k, _ in learner.named_parameters()].index("network.inside.spare")
    assert grads[spare] is None or not grads[spare].any()
    assert torch.equal(learner.adapt(tasks_for().support).task(0).inside.spare.data, network.spare.data)


@pytest.mark.parametrize("layer", ["BatchNorm", "attention"])
@pytest.mark.parametrize("engine", ENGINES)
def test_networks_that_mix_points_see_unequal_tasks_unpadded(layer, engine):
    torch.manual_seed(0)
    network, tasks = NETWORKS[layer](), tasks_for()
    learner = MAML(network, lr=0.1, engine=engine)
    support_sizes, query_sizes = [2, 5, 3, 5], [4, 5, 5, 2]

    def hide(examples, sizes):
        mask = torch.arange(5) < torch.tensor(sizes)[:, None]
        return Examples(examples.x.where(mask[..., None], float("nan")), examples.y.where(mask[..., None], 7e9), mask)

    unequal = Tasks(hide(tasks.support, support_sizes), hide(tasks.query, query_sizes))
    alone = [
        learner.meta_loss(Tasks(tasks.support.select(t).first(n), tasks.query.select(t).first(m)))
        for t, (n, m) in enumerate(zip(support_sizes, query_sizes, strict=True))
    ]
    torch.testing.assert_close(learner.meta_loss(unequal), torch.stack(alone).mean())


@pytest.mark.parametrize("engine", ENGINES)
def test_running_statistics(engine):
    network = mlp(nn.BatchNorm1d(8))
    learner, tasks = MAML(network, lr=0.1, engine=engine), tasks_for()
    untouched = network[1].running_mean.clone()
    learner.adapt(tasks.support)(tasks.query.x)
    assert torch.equal(network[1].running_mean, untouched)
    learner.meta_loss(tasks)
    assert not torch.equal(network[1].running_mean, untouched)
    assert network[1].num_batches_tracked == 2  # the support pass and the query pass
    network.eval()
    one, all_ = (
        learner.adapt(tasks.support)(tasks.query.x[:, :1]).mean,
        learner.adapt(tasks.support)(tasks.query.x).mean,
    )
    torch.testing.assert_close(one, all_[:, :1])  # inductive: query points do not see each other


def test_dropout_differs_by_task_and_follows_the_generator():
    learner = MAML(mlp(nn.Dropout(0.5)), lr=0.1)
    tasks = tasks_for()
    same = Examples(tasks.support.x[:1].expand(4, -1, -1), tasks.support.y[:1].expand(4, -1, -1))

    def adapted(seed):
        return learner.adapt(same, generator=torch.Generator().manual_seed(seed)).adapted.params["0.weight"]

    first = adapted(0)
    assert torch.equal(first, adapted(0)) and not torch.equal(first, adapted(1))
    assert not torch.equal(first[0], first[1])
    learner.eval()
    assert torch.equal(adapted(0), adapted(1))


def test_adapt_works_without_grad_and_leaves_no_graph():
    learner, tasks = MAML(mlp(), lr=0.1), tasks_for()
    with torch.no_grad():
        quiet = learner.adapt(tasks.support)(tasks.query.x).mean
    loud = learner.adapt(tasks.support)(tasks.query.x).mean
    assert not loud.requires_grad
    torch.testing.assert_close(quiet, loud)
    kept = learner.adapt(tasks.support, create_graph=True)(tasks.query.x).mean
    assert kept.requires_grad
    expected = torch.autograd.grad(learner.meta_loss(tasks), list(learner.parameters()))
    found = torch.autograd.grad((kept - tasks.query.y).square().mean(), list(learner.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_classification_and_images():
    torch.set_default_dtype(torch.float32)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x, y = torch.randn(2, 6, 1, 6, 6), torch.arange(3).repeat(2, 2)
    tasks = Tasks(Examples(x, y), Examples(x, y))
    learner = MAML(network, lr=0.5, steps=5)
    learner.meta_loss(tasks).backward()
    belief = learner.adapt(tasks.support, steps=20)(tasks.query.x)
    torch.testing.assert_close(belief.probs.sum(-1), torch.ones(2, 6))
    assert (belief.probs.argmax(-1) == y).float().mean() > 0.9
    assert belief.log_prob(y).shape == (2, 6) and belief.sample(3).shape == (3, 2, 6)


def test_bad_options():
    with pytest.raises(ValueError, match="lr=-1"):
        MAML(mlp(), lr=-1)
    with pytest.raises(ValueError, match="steps=-1"):
        MAML(mlp(), steps=-1)
    with pytest.raises(ValueError, match="engine='fast'"):
        MAML(mlp(), engine="fast")
    with pytest.raises(TypeError, match="Module"):
        MAML(lambda x: x)
    with pytest.raises(ValueError, match="not both"):
        MAML(mlp(), loss=F.mse_loss, likelihood=object())
    with pytest.raises(ValueError, match="steps=1.5"):
        MAML(mlp()).adapt(tasks_for().support, steps=1.5)
    with pytest.raises(ValueError, match=r"must map \[N, \*dx\] to \[N, 1\]"):
        MAML(nn.Linear(6, 2)).meta_loss(tasks_for())


def test_a_scalar_loss_serves_without_masks_only():
    tasks = tasks_for()
    learner = MAML(mlp(), lr=0.1, loss=F.mse_loss)
    torch.testing.assert_close(learner.meta_loss(tasks), MAML(learner.network, lr=0.1).meta_loss(tasks))
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 0] = False
    with pytest.raises(ValueError, match="one value per point"):
        learner.meta_loss(Tasks(Examples(*tasks.support[:2], mask), tasks.query))


class FirstOfLSTM(nn.Module):
    """Reads the points in order: later outputs depend on earlier points, never the other way round."""

    def __init__(self):
        super().__init__()
        self.read, self.leave = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x):
        return self.leave(self.read(x[None])[0][0])


def zero_head():
    network = mlp(nn.BatchNorm1d(8))
    nn.init.zeros_(network[-1].weight)
    return network


@pytest.mark.parametrize("make", [zero_head, FirstOfLSTM], ids=["a head that starts at zero", "causal"])
def test_hidden_mixing_is_found(make):
    torch.manual_seed(0)
    learner, tasks = MAML(make(), lr=0.1), tasks_for()
    mask = torch.tensor([[False, True, True, False, True]] * 2 + [[True] * 5] * 2)
    dirty = Examples(tasks.support.x.where(mask[..., None], 1e3), tasks.support.y, mask)
    alone = [
        learner.meta_loss(
            Tasks(Examples(tasks.support.x[t, mask[t]][None], tasks.support.y[t, mask[t]][None]), tasks.query.select(t))
        )
        for t in range(4)
    ]
    torch.testing.assert_close(learner.meta_loss(Tasks(dirty, tasks.query)), torch.stack(alone).mean())


def test_one_real_point_is_not_normalised_with_padding():
    learner, tasks = MAML(mlp(nn.BatchNorm1d(8))), tasks_for().select(0)
    mask = torch.tensor([[True, False, False, False, False]])
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        learner.adapt(Examples(tasks.support.x, tasks.support.y, mask))


def test_categories_kept_as_floats_are_never_tried_with_values_of_our_own():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(4, 3)
            self.leave = nn.Linear(3, 1)

        def forward(self, x):
            return self.leave(self.table(x[..., 0].long()))

    x, y = torch.full((2, 3, 1), 3.0), torch.ones(2, 3, 1)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert MAML(Lookup()).meta_loss(Tasks(Examples(x, y, mask), Examples(x, y))).isfinite()


@pytest.mark.parametrize("learner", [MAML, Pretrained])
def test_a_loss_of_the_wrong_shape_is_refused(learner):
    tasks = tasks_for()
    mask = torch.tensor([[True] * 5] * 3 + [[True] * 4 + [False]])
    for query in (tasks.query, Examples(*tasks.query[:2], mask)):
        with pytest.raises(ValueError, match="one value per point"):
            learner(mlp(), loss=lambda output, y: (output - y).square()).meta_loss(Tasks(tasks.support, query))


def test_appending_repeats_the_dropout_of_adapting_to_the_union():
    learner, tasks = MAML(mlp(nn.Dropout(0.5)), lr=0.1, engine="loop"), tasks_for()
    rest = Examples(tasks.support.x[:, 2:], tasks.support.y[:, 2:])
    grown = learner.adapt(tasks.support.first(2), generator=torch.Generator().manual_seed(0)).append(rest)
    whole = learner.adapt(tasks.support, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown.adapted.params["0.weight"], whole.adapted.params["0.weight"])


def test_what_torch_cannot_batch_runs_one_by_one_and_says_so():
    torch.manual_seed(0)
    network = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 1))
    tasks = tasks_for()
    with pytest.warns(RuntimeWarning, match="one by one"):
        found = MAML(network, lr=0.1).meta_loss(tasks)
    assert found.isfinite()
    with pytest.raises(RuntimeError, match="atching rule"):
        MAML(network, lr=0.1, engine="batched").meta_loss(tasks)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": 3}, "loss=3"),
        ({"likelihood": likelihoods.Gaussian}, "make one: Gaussian"),
        ({"likelihood": 3}, "an instance"),
        ({"compile": "x"}, "compile='x'"),
        ({"first_order": 3}, "first_order=3"),
    ],
)
def test_options_of_the_wrong_type(options, says):
    with pytest.raises(TypeError, match=says):
        MAML(mlp(), **options)


def test_predictors_refuse_what_they_cannot_read():
    tasks = tasks_for()
    predictor = MAML(mlp()).adapt(tasks.support)
    with pytest.raises(TypeError, match="torch.float32"):
        predictor(tasks.query.x.float())
    with pytest.raises(TypeError, match="as_tensor"):
        predictor(tasks.query.x.numpy())
    with pytest.raises(TypeError, match="Examples"):
        predictor.append(tasks.query.x)
    with pytest.raises(ValueError, match="examples.y"):
        predictor.append(Examples(tasks.query.x, tasks.query.y.repeat(1, 1, 2)))
    for i in (99, "a"):
        with pytest.raises(IndexError, match="tasks 0 to 3"):
            predictor.task(i)
    with pytest.raises(TypeError, match="torch.Generator"):
        MAML(mlp()).adapt(tasks.support, generator=0)
