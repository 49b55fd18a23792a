"""Points with many outputs: a label at every pixel, a tag at every place of a sequence, an image for an image."""

import json
import math
import re

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

import quickstudy as qs
from quickstudy import likelihoods
from quickstudy.data import Examples, Tasks, by_size, collate, pad
from quickstudy.evaluation.evaluate import scores_by_size
from quickstudy.evaluation.scores import scores
from quickstudy.predictive import Categorical, Gaussian, GaussianMixture, Point
from quickstudy.tasks import ExactGP, from_dataset
from quickstudy.tasks.fitted_gp import fit_gp


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


class Tagger(nn.Module):
    """Words `[N, L]` to logits of 4 tags, `[N, 4, L]`."""

    def __init__(self):
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(10, 5), nn.Conv1d(5, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        """Logits."""
        return self.head(self.mix(self.words(x).mT).tanh().mT).mT


def painter(outputs):
    """Images `[N, 1, 6, 6]` to images of as many channels."""
    layers = nn.Conv2d(1, 5, 3, padding=1), nn.GroupNorm(1, 5), nn.Tanh(), nn.Conv2d(5, outputs, 1)
    return nn.Sequential(*layers)


NETWORKS = {
    "pixels": lambda: painter(3),
    "tags": Tagger,
    "volumes": lambda: nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv3d(3, 2, 1)),
    "images": lambda: painter(2),
    "curves": lambda: nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 2, 1)),
}
REAL = ("images", "curves")


def points(kind, tasks, count, chance):
    """`x` and `y` of as many tasks and points."""
    if kind == "tags":
        x = torch.randint(10, (tasks, count, 7), generator=chance)
        y = x % 4
        y[:, :, 5:] = torch.where(x[:, :, :1] > 4, y[:, :, 5:], -100)  # sequences of unequal length
        return x, y
    shape = {"pixels": (6, 6), "images": (6, 6), "volumes": (4, 4, 4), "curves": (9,)}[kind]
    x = torch.randn(tasks, count, 1, *shape, generator=chance)
    if kind in REAL:
        return x, torch.cat([x.sin(), x.square()], 2)
    classes = 3 if kind == "pixels" else 2
    return x, (x[:, :, 0] * 2).round().long().clamp(0, classes - 1)


def batch(kind, tasks=3, support=4, query=3):
    chance = torch.Generator().manual_seed(0)
    return Tasks(Examples(*points(kind, tasks, support, chance)), Examples(*points(kind, tasks, query, chance)))


def unequal(tasks, support=(4, 1, 2), query=(2, 3, 1)):
    """The same, with padding that holds what must not matter."""

    def cut(examples, sizes):
        mask = torch.arange(examples.num_points) < torch.tensor(sizes)[:, None]
        x, y = examples.x.clone(), examples.y.clone()
        for part in (x, y):
            part[~mask] = torch.nan if part.is_floating_point() else 9
        return Examples(x, y, mask)

    return Tasks(cut(tasks.support, support), cut(tasks.query, query))


def alone(tasks, i):
    """Task `i`, without padding."""
    sets = [Examples(e.x[i : i + 1, e.real()[i]], e.y[i : i + 1, e.real()[i]]) for e in tasks[:2]]
    return Tasks(*sets)


def plain_loss(output, y):
    """The mean over points, as torch itself computes it."""
    if y.is_floating_point():
        return (output - y).square().sum() / len(y)
    return torch.stack([F.cross_entropy(o[None], target[None]) for o, target in zip(output, y, strict=True)]).mean()


# losses and beliefs


def test_the_loss_of_labels_is_their_mean_over_the_positions_that_count():
    output, y = torch.randn(5, 3, 2, 3, requires_grad=True), torch.randint(3, (5, 2, 3))
    y[torch.rand(y.shape) < 0.3] = -100
    expected = torch.stack([F.cross_entropy(o[None], t[None]) for o, t in zip(output, y, strict=True)])
    for loss in (likelihoods.default_loss, likelihoods.Categorical().loss):
        torch.testing.assert_close(loss(output, y), expected)
        torch.testing.assert_close(loss(output, y.to(torch.int16)), expected)
    y = y.clamp_min(0)
    torch.testing.assert_close(
        likelihoods.default_loss(output, y), F.cross_entropy(output, y, reduction="none").mean((1, 2))
    )
    assert torch.autograd.gradcheck(lambda o: likelihoods.default_loss(o, y), output)
    assert torch.autograd.gradgradcheck(lambda o: likelihoods.default_loss(o, y), output)


def test_the_loss_of_images_is_the_sum_over_all_but_the_points():
    output, y = torch.randn(5, 2, 4, 6), torch.randn(5, 2, 4, 6)
    torch.testing.assert_close(likelihoods.default_loss(output, y), (output - y).square().sum((1, 2, 3)))
    density = Independent(Normal(output, 0.3), 3)
    torch.testing.assert_close(likelihoods.Gaussian(0.3).loss(output, y), -density.log_prob(y))
    spread = torch.randn(5, 2, 4, 6)
    density = Independent(Normal(output, 0.1 + F.softplus(spread)), 3)
    wide, likelihood = torch.cat([output, spread], 1), likelihoods.HeteroscedasticGaussian(0.1)
    torch.testing.assert_close(likelihood.loss(wide, y), -density.log_prob(y))
    belief = likelihood.predictive(wide[None])
    torch.testing.assert_close(belief.log_prob(y[None]), density.log_prob(y)[None])


@pytest.mark.parametrize(
    ("output", "y", "says"),
    [
        ((5, 3), (5, 4), r"integer labels \[5, 4\]; expected logits \[5, C, 4\].*y\.argmax\(-1\)"),
        ((5, 3), (5, 3), r"expected logits \[5, C, 3\].*y\.float\(\)"),
        ((5, 3, 8, 8), (5, 4, 4), r"expected logits \[5, C, 4, 4\], the classes on the second axis"),
        ((5, 7, 4), (5, 7), r"expected logits \[5, C, 7\]"),
        ((5, 3, 4), (5,), r"expected logits \[5, C\]"),
        ((5,), (5,), r"output has shape \[5\] .* expected logits \[5, C\]"),
    ],
)
def test_labels_that_do_not_fit_the_logits(output, y, says):
    with pytest.raises(ValueError, match=says):
        likelihoods.default_loss(torch.zeros(output), torch.zeros(y, dtype=torch.long))


def test_a_belief_about_labels_at_many_positions():
    belief, y = Categorical(torch.randn(2, 3, 4, 5, 6)), torch.randint(4, (2, 3, 5, 6))
    each = torch.distributions.Categorical(logits=belief.logits.movedim(2, -1))
    torch.testing.assert_close(belief.log_prob(y), each.log_prob(y).mean((2, 3)))
    torch.testing.assert_close(belief.log_prob(y, joint=True), each.log_prob(y).sum((1, 2, 3)))
    torch.testing.assert_close(belief.probs.movedim(2, -1), each.probs)
    assert belief.mean.shape == belief.variance.shape == (2, 3, 4, 5, 6)
    for t in range(2):
        torch.testing.assert_close(likelihoods.default_loss(belief.logits[t], y[t]), -belief.log_prob(y)[t])
    draws = belief.sample(20_000, torch.Generator().manual_seed(0))
    assert draws.shape == (20_000, 2, 3, 5, 6)
    shares = torch.stack([(draws == c).double().mean(0) for c in range(4)], 2)
    assert (shares - belief.probs).abs().max() < 0.02
    assert torch.equal(belief.sample(2, noise=False)[1], belief.logits.argmax(2))


def test_positions_and_points_that_do_not_count():
    belief, y = Categorical(torch.randn(2, 3, 4, 5)), torch.randint(4, (2, 3, 5))
    y[0, 1, 2:] = -100
    mask = torch.tensor([[True, True, False], [True, True, True]])
    each = belief.logits.log_softmax(2).gather(2, y.clamp_min(0).unsqueeze(2)).squeeze(2)
    found, joint = belief.log_prob(y, mask), belief.log_prob(y, mask, joint=True)
    torch.testing.assert_close(found[0], torch.stack([each[0, 0].mean(), each[0, 1, :2].mean(), torch.tensor(0.0)]))
    torch.testing.assert_close(joint[0], each[0, 0].sum() + each[0, 1, :2].sum())
    torch.testing.assert_close(joint[1], each[1].sum())
    with pytest.raises(ValueError, match=r"expects \[2, 3, 5\]"):
        belief.log_prob(y[..., :4])


@pytest.mark.parametrize("shape", [(2, 3, 2, 4, 4), (2, 3, 5, 1), (2, 3, 1)])
def test_densities_of_images_are_those_of_long_vectors(shape):
    mean, variance, y = torch.randn(shape), torch.rand(shape) + 0.1, torch.randn(shape)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    means, variances = torch.stack([mean, mean + 1]), torch.stack([variance, 2 * variance])
    pairs = [
        (Gaussian(mean, variance), Gaussian(mean.flatten(2), variance.flatten(2))),
        (GaussianMixture(means, variances), GaussianMixture(means.flatten(3), variances.flatten(3))),
    ]
    for belief, flat in pairs:
        for joint in (False, True):
            dirty = y.clone()
            dirty[0, 1] = math.nan
            torch.testing.assert_close(
                belief.log_prob(dirty, mask, joint=joint), flat.log_prob(y.flatten(2), mask, joint=joint)
            )
        torch.testing.assert_close(belief.cdf(y).flatten(2), flat.cdf(y.flatten(2)))
        draws = [b.sample(3, torch.Generator().manual_seed(0)) for b in (belief, flat)]
        assert draws[0].shape == (3, *shape) and torch.equal(draws[0].flatten(3), draws[1])
        one, other = (
            scores(b, Examples(torch.zeros(2, 3, 1), o, mask)) for b, o in ((belief, y), (flat, y.flatten(2)))
        )
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name])


# records


@pytest.mark.parametrize("kind", NETWORKS)
def test_records_pad_append_and_collate_them(kind):
    tasks = batch(kind)
    padded = unequal(tasks)
    clean = padded.support.clean()
    assert clean.y[~clean.mask].eq(0).all() and torch.equal(clean.y[0], tasks.support.y[0])
    again = pad([(x[m], y[m]) for x, y, m in zip(*padded.support, strict=True)])
    for part, other in zip(again, clean, strict=True):
        assert torch.equal(part, other)
    union = padded.support.append(padded.query)
    assert union.sizes().tolist() == [6, 4, 3] and union.y.shape == (3, 7, *tasks.query.y.shape[2:])
    both = collate([padded.select(0), padded.select(slice(1, 3))])
    assert torch.equal(both.query.y, padded.query.clean().y)
    for index, (support, query) in by_size(*padded[:2]):
        i = int(index[0])
        assert torch.equal(support.y[0], alone(padded, i).support.y[0])
        assert torch.equal(query.y[0], alone(padded, i).query.y[0])


def test_unlike_outputs_are_refused():
    tasks = batch("pixels")
    with pytest.raises(ValueError, match=r"cannot append outputs of shape \[3, 3, 3, 6\]"):
        tasks.support.append(Examples(tasks.query.x, tasks.query.y[:, :, :3]))
    small, large = (torch.zeros(2, 1, 3, 3), torch.zeros(2, 3, 3)), (torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(
        ValueError, match=r"point set 1 has inputs of shape \[1, 4, 4\].*labels of added positions: -100"
    ):
        pad([small, large])
    with pytest.raises(ValueError, match=r"point set 1 has outputs of shape \[4, 4\]"):
        pad([small, (small[0], large[1])])


# learners


def unrolled(network, tasks, lr, steps):
    """MAML's loss and its gradient, in plain PyTorch."""
    names, start = zip(*network.named_parameters(), strict=True)
    total = 0.0
    for i in range(tasks.num_tasks):
        one, values = alone(tasks, i), list(start)
        for _ in range(steps):
            output = torch.func.functional_call(network, dict(zip(names, values, strict=True)), (one.support.x[0],))
            slopes = torch.autograd.grad(plain_loss(output, one.support.y[0]), values, create_graph=True)
            values = [v - lr * g for v, g in zip(values, slopes, strict=True)]
        output = torch.func.functional_call(network, dict(zip(names, values, strict=True)), (one.query.x[0],))
        total = total + plain_loss(output, one.query.y[0]) / tasks.num_tasks
    return total, torch.autograd.grad(total, start)


@pytest.mark.parametrize("engine", ["auto", "batched", "lowrank", "loop"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_meta_gradient_is_that_of_plain_loops(kind, engine):
    network = NETWORKS[kind]()
    lr = 0.01 if kind in REAL else 0.3
    for tasks in (batch(kind), unequal(batch(kind))):
        learner = qs.MAML(network, lr=lr, steps=2, engine=engine)
        loss = learner.meta_loss(tasks)
        expected, slopes = unrolled(network, tasks, lr, 2)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
        found = torch.autograd.grad(loss, list(network.parameters()))
        for a, b in zip(found, slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


LEARNERS = {
    "MAML, mixed": lambda n, o: qs.MAML(n, lr=0.01, steps=2, mixed_mode=True, **o),
    "MAML, checkpoints": lambda n, o: qs.MAML(n, lr=0.01, steps=2, checkpoint="every", **o),
    "FOMAML": lambda n, o: qs.FOMAML(n, lr=0.01, steps=2, **o),
    "Reptile": lambda n, o: qs.Reptile(n, lr=0.01, steps=2, **o),
    "ANIL": lambda n, o: qs.ANIL(n, lr=0.01, steps=2, **o),
    "MAML++": lambda n, o: qs.MAMLPlusPlus(n, lr=0.01, steps=2, **o),
    "MetaSGD": lambda n, o: qs.MetaSGD(n, lr=0.01, **o),
    "Pretrained": lambda n, o: qs.Pretrained(n, lr=0.01, steps=2, **o),
    "BayesianMAML": lambda n, o: qs.BayesianMAML(n, particles=2, lr=0.01, steps=2, **o),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["pixels", "tags", "images"])
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_keep_their_contract(name, kind):
    likelihood = likelihoods.Gaussian(1.0) if kind in REAL else likelihoods.Categorical()
    learner = LEARNERS[name](NETWORKS[kind](), {"likelihood": likelihood})
    tasks = unequal(batch(kind))
    loss = learner.meta_loss(tasks)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters())
    torch.testing.assert_close(loss, torch.stack([learner.meta_loss(alone(tasks, i)) for i in range(3)]).mean())
    predictor, x = learner.adapt(tasks.support), tasks.query.clean().x
    belief = predictor(x)
    log_prob = belief.log_prob(tasks.query.y, tasks.query.mask)
    assert log_prob.shape == (3, 3) and log_prob[0, 2] == 0
    assert belief.sample(5).shape == (5, *tasks.query.y.shape)
    found = scores_by_size(learner, tasks)
    for i in range(3):
        one = alone(tasks, i)
        module = predictor.task(i)(one.query.x[0])
        if name == "BayesianMAML":
            assert predictor.functions(3)(x).shape == (3, *belief.mean.shape)
        else:
            said = belief.mean if kind in REAL else belief.logits
            torch.testing.assert_close(module, said[i, : len(module)])
        single = scores(learner.adapt(one.support)(one.query.x), one.query)
        for key, value in single.items():
            torch.testing.assert_close(found[key][i], value[0])
    whole = batch(kind)
    rest = Examples(whole.support.x[:, 1:], whole.support.y[:, 1:])
    grown = learner.adapt(whole.support.first(1)).append(rest)(whole.query.x).mean
    torch.testing.assert_close(grown, learner.adapt(whole.support)(whole.query.x).mean)


def test_batch_statistics_see_unequal_tasks_without_padding():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 3, 1))
    learner, tasks = qs.MAML(network, lr=0.3), unequal(batch("pixels"))
    losses = torch.stack([learner.meta_loss(alone(tasks, i)) for i in range(3)])
    torch.testing.assert_close(learner.meta_loss(tasks), losses.mean())


def test_a_point_is_right_in_the_share_of_its_positions():
    y = torch.tensor([[[0, 1, 2, -100], [1, 1, 1, 1]]])
    logits = F.one_hot(torch.tensor([[[0, 1, 1, 0], [1, 0, 0, 0]]]), 3).movedim(-1, 2).double()
    query = Examples(torch.zeros(1, 2, 4), y)
    assert scores(Categorical(logits), query)["accuracy"].item() == pytest.approx((2 / 3 + 1 / 4) / 2)
    masked = query._replace(mask=torch.tensor([[True, False]]))
    assert scores(Categorical(logits), masked)["accuracy"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", ["pixels", "tags", "curves"])
def test_a_persons_own_dense_data_train_and_are_judged(kind, tmp_path):
    torch.set_default_dtype(torch.float32)
    chance = torch.Generator().manual_seed(0)
    sets = [tuple(part[0] for part in points(kind, 1, count, chance)) for count in (7, 9, 8, 7, 10, 8, 9, 7)]
    family = from_dataset([(x.float() if kind != "tags" else x, y) for x, y in sets])
    assert family.dy == {"pixels": 3, "tags": 4, "curves": 2}[kind]
    network = nn.Sequential(Rounded(), NETWORKS[kind]()) if kind == "tags" else NETWORKS[kind]()
    learner = qs.MAML(network, lr=0.05)
    qs.fit(learner, family, steps=3, support=4, query=3, tasks=2, validation_tasks=2, out=tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert math.isfinite(result["metrics"]["validation_loss"]["mean"])
    found = qs.evaluate(learner, family, tasks=4, support=3, query=3, steps=(0, 2))
    metric = found[f"{'mse' if kind in REAL else 'accuracy'}/k=3/steps=2"]
    assert math.isfinite(metric.mean) and (kind in REAL or 0 <= metric.mean <= 1)


class Rounded(nn.Module):
    """Words that a family keeps as real numbers, as words again."""

    def forward(self, x):
        """Integers."""
        return x.long()


# what is refused


def labels(*shape):
    return torch.zeros(shape, dtype=torch.long)


REFUSED = {
    "a column of labels": (
        labels(3, 4, 1),
        ValueError,
        r"squeeze the last axis with y\.squeeze\(-1\), or .* y\.float\(\)",
    ),
    "columns of pixels": (labels(3, 4, 6, 1), ValueError, "squeeze the last axis"),
    "no axis of tasks": (labels(4), ValueError, r"y\.unsqueeze\(0\)"),
    "truth values": (labels(3, 4, 6, 6).bool(), TypeError, r"y\.long\(\) or y\.float\(\)"),
    "other points": (labels(3, 5, 6, 6), ValueError, "must agree"),
    "nothing is labelled": (
        labels(3, 4, 6, 6) - 100,
        ValueError,
        "labels nothing at 12 of its real points .* task 0, point 0",
    ),
    "a label of nothing": (labels(3, 4) - 100, ValueError, "set their mask to False"),
    "a gap in an image": (
        torch.full((3, 4, 1, 6, 6), math.nan, dtype=torch.float64),
        ValueError,
        "support.y has a NaN",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("make", [qs.MAML, qs.Pretrained, qs.Reptile])
def test_examples_that_break_the_contract(make, case):
    y, error, says = REFUSED[case]
    with pytest.raises(error, match=says) as refusal:
        make(painter(3)).adapt(Examples(batch("pixels").support.x, y))
    assert "\n" not in str(refusal.value)


def test_who_needs_vectors_refuses_images():
    x, y = torch.zeros(2, 4, 1), torch.zeros(2, 4, 1, 5)
    one = torch.ones(2)
    for refuse in (
        lambda: qs.CNP(width=8).adapt(Examples(x, y)),
        lambda: qs.NeuralProcess(width=8).adapt(Examples(x, y)),
        lambda: qs.ALPaCA().adapt(Examples(x, y)),
        lambda: ExactGP(Examples(x, y), {"lengthscale": one, "scale": one, "noise": one}),
        lambda: fit_gp(Examples(x, y)),
    ):
        with pytest.raises(ValueError, match=re.escape("[2, 4, 1, 5]")):
            refuse()


def test_a_family_refuses_labels_it_cannot_read():
    x = torch.zeros(5, 1, 3, 3)
    for y, says in (
        (labels(5, 3, 3, 1), r"y\.float\(\) or y\.squeeze\(-1\)"),
        (labels(5, 3, 3).bool(), r"y\.float\(\) or y\.long\(\)"),
        (labels(5, 3, 3) - 1, "class label -1; labels count from 0"),
    ):
        with pytest.raises(ValueError, match=says):
            from_dataset([(x, y)] * 4)


# losses of one's own


LOSSES = {
    "a value per output": (
        lambda o, y: (o - y).square(),
        ValueError,
        r"shape \[12, 2\]; expected \[12\].*flatten\(1\)",
    ),
    "a value per pixel": (lambda o, y: (o - y).square()[:, :, None], ValueError, r"shape \[12, 2, 1\].*\.mean\(1\)"),
    "a value per feature": (lambda o, y: (o - y).square().mean(0), ValueError, r"shape \[2\].*keep the axis of points"),
    "a list of one": (lambda o, y: (o - y).square().mean().view(1), ValueError, r"shape \[1\].*reduction='none'"),
    "a number": (lambda o, y: (o - y).square().mean().item(), TypeError, r"a float; expected a tensor.*\.item\(\)"),
    "two things": (lambda o, y: ((o - y).square().sum(1), o), TypeError, "a tuple; .* return the tensor alone"),
    "a count": (lambda o, y: ((o - y).abs() > 1).sum(1), TypeError, r"torch\.int64 values; expected real numbers"),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
def test_losses_of_another_shape_are_refused(case, masked):
    loss, error, says = LOSSES[case]
    query = Examples(torch.randn(3, 4, 1), torch.randn(3, 4, 2))
    if masked:
        far = Examples(torch.randn(3, 2, 1), torch.randn(3, 2, 2), torch.zeros(3, 2, dtype=torch.bool))
        query = query.append(far)
    with pytest.raises(error, match=says) as refusal:
        qs.Pretrained(nn.Linear(1, 2), loss=loss).meta_loss(Tasks(query, query))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("case", ["a value per output", "a list of one", "a count"])
def test_particles_need_a_value_each(case):
    likelihood = likelihoods.Gaussian(1.0)
    likelihood.loss = LOSSES[case][0]
    points = Examples(torch.randn(3, 4, 1), torch.randn(3, 4, 2))
    options = {"likelihood": likelihood, "inner_likelihood": likelihoods.Gaussian(1.0)}
    learner = qs.BayesianMAML(nn.Linear(1, 2), particles=3, **options)
    with pytest.raises(LOSSES[case][1], match="the loss returned"):
        learner.meta_loss(Tasks(points, points))


@pytest.mark.parametrize("outputs", [1, 3, 4])
def test_a_score_needs_a_prediction_of_the_outcome(outputs):
    """A loss of one's own may read outputs that are no outcomes; compared with outcomes they would be broadcast."""
    y = torch.randn(2, 5, 2)
    with pytest.raises(
        ValueError, match=rf"means of shape \[2, 5, {outputs}\] for outcomes y of shape \[2, 5, 2\].*likelihood="
    ):
        scores(Point(torch.zeros(2, 5, outputs)), Examples(torch.zeros(2, 5, 1), y))
