"""A network that changes under its learner: another head, width or depth, other parts frozen, other weights, modes."""

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
    same,
    squared,
    study,
)
from torch import nn
from torch.nn.utils import parametrizations

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.middle, self.head = nn.Linear(2, 3), nn.Sequential(), nn.Linear(3, 1)
        self.adapter = nn.Linear(2, 1)
        self.use_adapter = False

    def forward(self, x):
        h = self.head(self.middle(torch.tanh(self.first(x))))
        return h + self.adapter(x) if self.use_adapter else h


def seeded(layer, *arguments, **options):
    torch.manual_seed(7)
    return layer(*arguments, **options)


# what is done to the network between two calls; it returns the number of outputs from then on


def new_head(network):
    """Of the same shape: only the tensors are other ones."""
    network.head = seeded(nn.Linear, 3, 1)


def more_classes(network):
    network.head = seeded(nn.Linear, 3, 4)
    return 4


def no_bias(network):
    network.head = seeded(nn.Linear, 3, 1, bias=False)


def deep_head(network):
    network.head = nn.Sequential(seeded(nn.Linear, 3, 5), nn.Tanh(), seeded(nn.Linear, 5, 1))


def wider(network):
    network.first, network.head = seeded(nn.Linear, 2, 6), seeded(nn.Linear, 6, 1)


def one_layer_more(network):
    network.middle.append(seeded(nn.Linear, 3, 3))
    network.middle.append(nn.Tanh())


def one_layer_less(network):
    network.first, network.head = nn.Identity(), seeded(nn.Linear, 2, 1)


def a_norm(network):
    network.middle.append(nn.LayerNorm(3))


def batch_norm(network):
    """New buffers, and points that mix."""
    network.middle.append(nn.BatchNorm1d(3))


def another_weight(network):
    network.head.weight = seeded(nn.Parameter, torch.randn(1, 3))


def other_data(network):
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(p.cos())


def data_swapped(network):
    network.head.weight.data = network.head.weight.detach().sin().clone()


def loaded(network):
    network.load_state_dict({k: v.sin() for k, v in network.state_dict().items()})


def assigned(network):
    """New parameters in the place of the old, by load_state_dict."""
    network.load_state_dict({k: v.sin() for k, v in network.state_dict().items()}, assign=True)


def frozen(network):
    network.first.requires_grad_(False)


def frozen_by_name(network):
    network.head.bias.requires_grad_(False)


def switched_on(network):
    """A part that nothing read before."""
    network.use_adapter = True


def tied(network):
    network.middle.append(seeded(nn.Linear, 3, 3))
    network.middle.append(nn.Tanh())
    network.middle.append(network.middle[0])


def parametrised(network):
    parametrizations.weight_norm(network.first)


def another_number(network):
    network.register_parameter("scale", nn.Parameter(torch.tensor(0.7)))
    network.head.register_forward_hook(lambda module, inputs, output: output * 1.5)


def a_hook(network):
    network.first.register_forward_hook(lambda module, inputs, output: output * 0.5)


def patched(network):
    """Another forward for the instance's head: a class of the same layers."""
    network.head = Doubled(network.head)


class Doubled(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) + self.layer(x.sin())


def a_table(network):
    """A buffer where none was."""
    network.middle.append(Shift())


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("by", torch.linspace(-1, 1, 3))

    def forward(self, x):
        return x + self.by


def reads_a_number(network):
    """Could be vectorised before, and cannot now."""
    network.middle.append(Number())


class Number(nn.Module):
    def forward(self, x):
        return x / (1 + x.abs().max().item())


CHANGES = [
    new_head,
    more_classes,
    no_bias,
    deep_head,
    wider,
    one_layer_more,
    one_layer_less,
    a_norm,
    batch_norm,
    another_weight,
    other_data,
    data_swapped,
    loaded,
    assigned,
    frozen,
    frozen_by_name,
    switched_on,
    tied,
    parametrised,
    another_number,
    a_hook,
    patched,
    a_table,
    reads_a_number,
]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
every_engine = pytest.mark.parametrize("engine", ENGINES)


@every_engine
@every_change
def test_meta_gradients(engine, change):
    """The learner was used before, and is right before and after."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    assert_close(meta(learner, tasks, learned(network)), expected(network, tasks))
    tasks = batch(dy=change(network) or 1)
    kept = copy.deepcopy(dict(network.named_buffers()))
    wanted = expected(network, tasks)
    same(engine, lambda: meta(learner, tasks, learned(network)), wanted)
    restore(network, kept)
    # what the optimizer would be given
    assert {id(p) for p in network.parameters()} <= {id(p) for p in learner.parameters()}
    same(engine, lambda: meta(learner, tasks, learned(network)), wanted)


def restore(network, buffers):
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
@every_change
def test_predictions(engine, change):
    """And of a predictor made before: what it was, or an error in words; never half of the new network."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    old = learner.adapt(tasks.support)
    change(network)
    dy = network(tasks.query.x[0]).shape[-1]
    tasks = batch(dy=dy)
    network.eval()
    modules = adapted_modules(network, tasks.support)
    wanted = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)]).detach()

    def ask():
        predict = learner.adapt(tasks.support)
        return [predict(tasks.query.x).mean.detach(), predict.task(1)(tasks.query.x[1]).detach()]

    same(engine, ask, [wanted, wanted[1]])
    assert old.adapted.num_tasks == 2


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch's own, of weight_norm
@every_change
def test_bare_loops(change):
    """`inner_loop`, with data of its own."""
    network, tasks = Network(), batch()
    loop = qs.inner_loop(network, objective=squared, lr=0.1, steps=2)
    assert_close(study(loop, tasks), expected(network, tasks))
    tasks = batch(dy=change(network) or 1)
    network.eval()
    wanted = expected(network, tasks)
    same("auto", lambda: study(loop, tasks), wanted)
    found, _ = heard(lambda: loop(batch=lambda step, adapted: tasks.support, num_tasks=2))
    losses = found.losses(tasks.query).detach()
    torch.testing.assert_close(losses.mean(), wanted[0], rtol=1e-9, atol=1e-10)


OPTIONS = {
    "checkpoints": {"checkpoint": "every"},
    "mixed mode": {"mixed_mode": True},
    "chunks": {"chunk": 1},
    "momentum": {"rule": qs.optimizers.SGD(0.1)},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "change",
    [more_classes, deep_head, one_layer_more, frozen, switched_on, tied, assigned, reads_a_number],
    ids=lambda change: change.__name__,
)
def test_options(option, change):
    network, tasks = Network(), batch()
    options = {"lr": 0.1, **OPTIONS[option]}
    if "rule" in options:
        del options["lr"]
    learner = qs.MAML(network, steps=2, **options)
    assert_close(meta(learner, tasks, learned(network)), expected(network, tasks))
    tasks = batch(dy=change(network) or 1)
    wanted = expected(network, tasks)
    same("auto", lambda: meta(learner, tasks, learned(network)), wanted, refusal="mixed_mode", warning="mixed_mode")


@every_engine
def test_patterns_hold_for_new_names(engine):
    """`adapt="head.*"` is a rule, not a list that was made once."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, adapt="head.*", engine=engine)
    meta(learner, tasks, learned(network))
    deep_head(network)
    head = {k for k, _ in network.named_parameters() if k.startswith("head")}
    partly = copy.deepcopy(network)
    for k, p in partly.named_parameters():
        p.requires_grad_(k in head)
    wanted = [meta_of_a_part(network, partly, tasks)]
    found, _ = heard(lambda: learner.meta_loss(tasks).detach())
    assert_close([found], wanted)
    predict = learner.adapt(tasks.support)
    start = dict(network.named_parameters())
    moved = {k for k, v in predict.adapted.params.items() if not torch.equal(v[0], start[k])}
    assert moved == head


def meta_of_a_part(network, partly, tasks):
    """The meta-loss where only the parts that need a gradient move."""
    return expected(partly, tasks)[0]


@every_engine
def test_a_pattern_that_fits_nothing_any_more_is_refused(engine):
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, adapt="head.*", engine=engine)
    meta(learner, tasks, learned(network))
    network.head = nn.Flatten(1, -1)
    network.first = seeded(nn.Linear, 2, 1)
    with pytest.raises((ValueError, RuntimeError), match=r"head\.\*"):
        learner.meta_loss(tasks)


@every_engine
def test_frozen_and_thawed_and_back(engine):
    """Every call as the flags say just then."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    for parts in (["first"], [], ["head"], ["first", "adapter"], []):
        for name, p in network.named_parameters():
            p.requires_grad_(not any(name.startswith(part) for part in parts))
        assert_close(meta(learner, tasks, learned(network)), expected(network, tasks))


@every_engine
def test_everything_frozen_says_so_or_stays_the_prior(engine):
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    meta(learner, tasks, learned(network))
    network.requires_grad_(False)
    torch.testing.assert_close(learner.adapt(tasks.support)(tasks.query.x).mean, network(tasks.query.x))


@every_engine
def test_modes_of_parts(engine):
    """BatchNorm frozen by `.eval()` on the layer, thawed, and the other way round; unequal tasks."""
    network = Network()
    network.middle.append(nn.BatchNorm1d(3))
    network.middle[0](torch.randn(20, 3) * 2 + 1)  # statistics that are not those of any task
    kept = copy.deepcopy(dict(network.named_buffers()))
    tasks = batch(num_tasks=3)
    tasks = qs.Tasks(masked(tasks.support, [4, 2, 3]), masked(tasks.query, [3, 2, 3]))
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    for training in (True, False, True, False):
        network.middle[0].train(training)
        restore(network, kept)
        wanted = expected(network, tasks)
        assert_close(meta(learner, tasks, learned(network)), wanted)


@every_engine
def test_another_type(engine):
    """`.float()` and `.double()` on the way."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    wanted = expected(network, tasks)
    assert_close(meta(learner, tasks, learned(network)), wanted)
    learner.float()
    half = qs.Tasks(*(qs.Examples(e.x.float(), e.y.float()) for e in tasks[:2]))
    found = meta(learner, half, learned(network))
    assert {t.dtype for t in found} == {torch.float32}
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)
    learner.double()
    again = expected(network, tasks)
    assert_close(meta(learner, tasks, learned(network)), again)


@every_engine
def test_other_shapes_of_points(engine):
    """A first layer for more features: the data change with the network."""
    network, tasks = Network(), batch()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    meta(learner, tasks, learned(network))
    network.first = seeded(nn.Linear, 5, 3)
    network.adapter = seeded(nn.Linear, 5, 1)
    tasks = batch(dx=5)
    assert_close(meta(learner, tasks, learned(network)), expected(network, tasks))


@pytest.mark.parametrize("change", [more_classes, deep_head, frozen], ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    "make",
    [qs.FOMAML, qs.Reptile, qs.MAMLPlusPlus, qs.Pretrained, qs.iMAML],
    ids=lambda make: make.__name__,
)
def test_other_learners(make, change):
    """As a fresh learner of the changed network; where rates are learned by name, a new name has none."""
    network, tasks = Network(), batch()
    learner = make(network, lr=0.02, steps=2)
    learner.meta_loss(tasks)
    learner.adapt(tasks.support)
    tasks = batch(dy=change(network) or 1)
    if make is qs.MAMLPlusPlus and change is deep_head:
        with pytest.raises(ValueError, match="no rate for 'head.0.weight'"):
            learner.meta_loss(tasks)
        return
    fresh = make(copy.deepcopy(network), lr=0.02, steps=2)
    torch.testing.assert_close(learner.meta_loss(tasks), fresh.meta_loss(tasks), rtol=1e-9, atol=1e-10)
    means = [each.adapt(tasks.support)(tasks.query.x).mean for each in (learner, fresh)]
    torch.testing.assert_close(*means, rtol=1e-9, atol=1e-10)


def test_a_network_that_does_not_fit_the_labels_says_which():
    """After the head has gone from 1 to 4 outputs, labels of 1 are still given: the message is of shapes."""
    network, tasks = Network(), batch(dy=2)
    network.head = seeded(nn.Linear, 3, 2)
    learner = qs.MAML(network, lr=0.1, steps=2)
    learner.meta_loss(tasks)
    more_classes(network)
    with pytest.raises((ValueError, RuntimeError), match=r"\b4\b(?s:.)*\b2\b|\b2\b(?s:.)*\b4\b|shape|size"):
        heard(lambda: learner.meta_loss(tasks))
