"""Where an inner loop stands at an edge: modes without gradients, nothing that moves, problems half solved, vectors."""

import pickle

import pytest
import torch
from torch import nn

import quickstudy as qs

ENGINES = ("loop", "batched", "lowrank")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1))


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 9, 6, generator=generator)
    y = torch.sin(x.sum(-1, keepdim=True) + torch.randn(3, 1, 1, generator=generator))
    return qs.Tasks(qs.Examples(x[:, :5], y[:, :5]), qs.Examples(x[:, 5:], y[:, 5:]))


class WithContext(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, context):
        return self.body(x + context)


class OfAVector(nn.Module):
    """A linear layer that sees one vector in place of points."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.value, self.first, self.last = nn.Parameter(torch.randn(4)), nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(x + self.first(self.value)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_adapts_where_no_gradient_is_taken(engine, mode):
    learner, tasks = qs.MAML(mlp(), lr=0.1, steps=3, engine=engine), batch()
    expected = learner.meta_loss(tasks).detach()
    belief = learner.adapt(tasks.support)(tasks.query.x).mean
    with mode():
        torch.testing.assert_close(learner.meta_loss(tasks), expected)
        torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean, belief)


def slope(learner, tasks, h=1e-4):
    """Of the meta-loss along a random direction, by fourth-order central differences, and by the gradient."""
    params = [p for p in learner.parameters() if p.requires_grad]
    grads = torch.autograd.grad(learner.meta_loss(tasks), params, allow_unused=True)
    along, start = [torch.randn_like(p) for p in params], [p.detach().clone() for p in params]

    def at(step):
        with torch.no_grad():
            for p, s, d in zip(params, start, along, strict=True):
                p.copy_(s + step * d)
        return learner.meta_loss(tasks).item()

    found = sum((g * d).sum().item() for g, d in zip(grads, along, strict=True) if g is not None)
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h), found


@pytest.mark.parametrize(
    "make",
    [
        lambda how: qs.MAML(mlp(), rule=qs.optimizers.SGD(0.1, weight_decay=0.5), **how),
        lambda how: qs.MAML(
            WithContext(), lr=0.1, adapt="body.*", inputs={"context": nn.Parameter(torch.full((6,), 0.3))}, **how
        ),
        lambda how: qs.MAML(mlp(), lr=0.1, **{**how, "steps": 0}),
    ],
    ids=["weight decay", "a context that stays", "no steps"],
)
def test_implicit_gradients_at_the_edges(make):
    learner = make({"steps": 400, "proximal": 3.0, "implicit": qs.Implicit(iterations=40)})
    exact, found = slope(learner, batch())
    assert abs(exact - found) <= 1e-6 * abs(exact)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_may_see_a_vector(engine):
    exact, found = slope(qs.MAML(OfAVector(), lr=0.1, steps=2, engine=engine), batch())
    assert abs(exact - found) <= 1e-6 * abs(exact)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_moves_but_something_learns(engine):
    network = mlp()
    network[0].requires_grad_(False)
    learner = qs.MAML(network, lr=0.1, adapt="0.*", engine=engine)
    learner.meta_loss(batch()).backward()
    assert network[2].weight.grad.abs().sum() > 0


def test_what_would_be_wrong_is_refused():
    tasks = batch()
    with pytest.raises(ValueError, match="optimizers.Rates"):
        qs.MAML(mlp(), lr={"*": nn.Parameter(torch.tensor(0.1))})
    with pytest.raises(ValueError, match="complex"):
        qs.MAML(nn.Linear(6, 1, dtype=torch.complex128), mixed_mode=True)
    mixing = qs.inner_loop(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), lr=0.1)
    padded = tasks.support._replace(mask=torch.arange(5) < torch.tensor([5, 4, 3])[:, None])
    with pytest.raises(ValueError, match="masked points"):
        mixing(batch=lambda step, adapted: padded, num_tasks=3)
    learner = qs.MAML(mlp(), lr=0.1, steps=4, checkpoint="sqrt")
    params = list(learner.parameters())
    with pytest.raises(NotImplementedError, match="checkpoint="):
        torch.autograd.grad(learner.meta_loss(tasks), params, create_graph=True)


class TwoPrecisions(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(6, 6).float(), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.float())).double())


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x):
        return self.body[2](torch.tanh(torch.utils.checkpoint.checkpoint(self.body[0], x, use_reentrant=False)))


def test_layers_of_two_precisions():
    network, tasks, found = TwoPrecisions(), batch(), {}
    for engine in ENGINES:
        loss = qs.MAML(network, lr=0.1, steps=3, engine=engine).meta_loss(tasks)
        found[engine] = [loss.detach(), *torch.autograd.grad(loss, list(network.parameters()))]
    torch.testing.assert_close(found["batched"], found["loop"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["lowrank"], found["loop"], rtol=1e-5, atol=1e-6)


def test_a_rate_of_less_precision_costs_none():
    found = []
    for engine in ENGINES:
        learner = qs.MAML(mlp(), lr=torch.tensor(0.1, dtype=torch.float32), steps=3, proximal=0.3, engine=engine)
        found.append(torch.autograd.grad(learner.meta_loss(batch()), list(learner.parameters())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-14)


def test_a_network_with_checkpoints_of_its_own_runs_one_task_after_another():
    network, tasks = Checkpointed(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2)
    with pytest.warns(RuntimeWarning, match="tasks run one by one"):
        found = torch.autograd.grad(learner.meta_loss(tasks), list(network.parameters()))
    plain = qs.MAML(network.body, lr=0.1, steps=2)
    torch.testing.assert_close(found, torch.autograd.grad(plain.meta_loss(tasks), list(plain.parameters())))


@pytest.mark.parametrize("engine", ["batched", "lowrank"])
@pytest.mark.parametrize("network", [nn.GRU(6, 4), nn.Linear(6, 1, dtype=torch.complex128)])
def test_an_engine_that_cannot_run_the_network_says_which_can(engine, network):
    with pytest.raises(ValueError, match="use engine='auto' or 'loop'"):
        qs.MAML(network, engine=engine)


@pytest.mark.parametrize("learner", [qs.MAML, qs.Pretrained])
def test_extra_inputs_are_filled_in_wherever_the_network_is_used(learner):
    tasks = batch()
    made = learner(WithContext(), lr=0.1, inputs={"context": nn.Parameter(torch.full((6,), 0.3))})
    made.meta_loss(tasks).backward()
    assert made.inputs["context"].grad.abs().sum() > 0
    predict = made.adapt(tasks.support)
    alone = predict.task(1)
    torch.testing.assert_close(alone(tasks.query.x[1]), predict(tasks.query.x).mean[1])
    assert not torch.equal(alone.inputs["context"], made.inputs["context"])


def test_extra_inputs_that_cannot_move_are_refused():
    with pytest.raises(TypeError, match="torch.int64"):
        qs.MAML(WithContext(), inputs={"context": torch.ones(6, dtype=torch.long)})


def test_chunks_leave_the_running_statistics_of_one_batch():
    found = []
    for chunk in (None, 1, 2):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
        qs.MAML(network, lr=0.1, chunk=chunk).meta_loss(batch())
        found.append(dict(network.named_buffers()))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_the_same_masks_in_every_chunk():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 1))
    x, y, _ = batch().support
    same = qs.Examples(x[:1].expand(3, -1, -1), y[:1].expand(3, -1, -1))
    learner = qs.MAML(network, lr=0.1, randomness="same", chunk=2)
    weight = learner.adapt(same).adapted.params["0.weight"]
    torch.testing.assert_close(weight[1:], weight[:1].expand(2, -1, -1))
    assert (weight[0] - network[0].weight).abs().max() > 1e-3


def test_data_made_from_the_adapted_weights_count_as_given():
    """In the inner gradient; the outer one flows through them as well."""
    tasks, network = batch(), mlp()

    def data(step, adapted):
        return qs.Examples(tasks.support.x, adapted(tasks.support.x) * 0.5 + tasks.support.y)

    losses = []
    for t in range(3):
        params = dict(network.named_parameters())
        for _ in range(3):
            target = torch.func.functional_call(network, params, (tasks.support.x[t],)) * 0.5 + tasks.support.y[t]
            leaves = {k: p.view_as(p) for k, p in params.items()}
            out = torch.func.functional_call(network, leaves, (tasks.support.x[t],))
            grads = torch.autograd.grad((out - target).square().mean(), list(leaves.values()), create_graph=True)
            params = {k: p - 0.1 * g for (k, p), g in zip(params.items(), grads, strict=True)}
        out = torch.func.functional_call(network, params, (tasks.query.x[t],))
        losses.append((out - tasks.query.y[t]).square().mean())
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(network.parameters()))
    for engine in ENGINES:
        adapted = qs.inner_loop(network, lr=0.1, steps=3, engine=engine)(batch=data, num_tasks=3)
        loss = adapted.losses(tasks.query).mean()
        torch.testing.assert_close(torch.autograd.grad(loss, list(network.parameters())), expected)


def test_a_predictor_is_pickled_and_appends_afterwards():
    tasks = batch()
    predict = qs.MAML(mlp(), lr=0.1).adapt(tasks.support)
    again = pickle.loads(pickle.dumps(predict))
    torch.testing.assert_close(again(tasks.query.x).mean, predict(tasks.query.x).mean)
    more = tasks.query.first(2)
    torch.testing.assert_close(again.append(more)(tasks.query.x).mean, predict.append(more)(tasks.query.x).mean)


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(6, 6)
        self.again, self.last = self.first, nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.again(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_under_two_names_moves_as_one_and_stays_what_it_was(engine):
    network, tasks = Twice(), batch()
    losses = []
    for t in range(3):
        own = {k: p for k, p in network.named_parameters()}
        for part, wanted in ((tasks.support, False), (tasks.query, True)):
            h = torch.tanh(part.x[t] @ own["first.weight"].T + own["first.bias"])
            h = torch.tanh(h @ own["first.weight"].T + own["first.bias"])
            loss = (h @ own["last.weight"].T + own["last.bias"] - part.y[t]).square().mean()
            if wanted:
                losses.append(loss)
            else:
                grads = torch.autograd.grad(loss, list(own.values()), create_graph=True)
                own = {k: p - 0.1 * g for (k, p), g in zip(own.items(), grads, strict=True)}
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(network.parameters()))
    loss = qs.MAML(network, lr=0.1, engine=engine).meta_loss(tasks)
    torch.testing.assert_close(torch.autograd.grad(loss, list(network.parameters())), expected)
    assert isinstance(network.again.weight, nn.Parameter) and network.again is network.first
