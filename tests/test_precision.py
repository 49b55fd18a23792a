"""Numbers keep their precision in any unit and any floating type, whatever the default type is."""

import copy
import math

import pytest
import torch
from learner_table import LEARNERS, Lines, masked
from torch import nn

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.evaluation.scores import scores, task_mean
from quickstudy.predictive import DenseGaussian, Gaussian, GaussianMixture, LowRankGaussian
from quickstudy.predictive.parts.covariance import cholesky
from quickstudy.rl.actor import Judge
from quickstudy.rl.estimation.advantages import discounted_returns, gae
from quickstudy.tasks import ExactGP
from quickstudy.tasks.fitted_gp import fit_gp

F64 = torch.float64
SCALES = [1e-10, 1e-19, 1e10, 1e17]


def unequal_tasks():
    tasks = Lines().sample(3, support=6, query=4, generator=torch.Generator().manual_seed(0))
    return Tasks(masked(tasks.support, [6, 3, 1]), masked(tasks.query, [2, 4, 3]))


def everything(learner, tasks):
    """What a learner has to say of `tasks`, by name."""
    torch.manual_seed(1)
    loss = learner.meta_loss(tasks)
    wanted = [p for p in learner.parameters() if p.requires_grad]
    gradients = [g.flatten() for g in torch.autograd.grad(loss, wanted, allow_unused=True) if g is not None]
    belief = learner.adapt(tasks.support, generator=torch.Generator().manual_seed(0))(tasks.query.clean().x)
    return {"loss": loss.detach(), "gradient": torch.cat(gradients), "mean": belief.mean, **scores(belief, tasks.query)}


@pytest.mark.parametrize("name", LEARNERS)
def test_float64_data_are_exact_under_a_float32_default(name):
    torch.set_default_dtype(F64)
    torch.manual_seed(0)
    learner, tasks = LEARNERS[name](), unequal_tasks()
    expected = everything(learner, tasks)
    torch.set_default_dtype(torch.float32)
    for key, found in everything(learner, tasks).items():
        torch.testing.assert_close(found, expected[key], rtol=1e-12, atol=1e-12)


def test_a_learned_noise_gives_beliefs_in_the_type_of_the_output():
    for kind in (torch.float64, torch.float32, torch.bfloat16):
        belief = qs.likelihoods.Gaussian(0.3, learn=True).predictive(torch.zeros(2, 3, 1, dtype=kind))
        assert belief.variance.dtype == belief.mean.dtype == kind


def ragged(episodes):
    """The same, of which only the first few steps of every row are real."""
    lengths = torch.randint(3, episodes.mask.shape[2] + 1, (*episodes.mask.shape[:2], 1))
    return episodes._replace(mask=torch.arange(episodes.mask.shape[2]) < lengths)


def practised(steps):
    """A policy's learner and what it has practised, in float64."""
    torch.manual_seed(0)
    learner = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [16], 2), 2), lr=0.1, steps=steps)
    world, chance = qs.rl.Navigation2D(num_envs=4, horizon=10), torch.Generator().manual_seed(0)
    world.set_tasks(world.sample_tasks(3, generator=chance))
    practice = learner.practise(world, generator=chance)
    episodes = tuple(map(ragged, practice.episodes))
    return learner, practice._replace(episodes=episodes, decisions=tuple(map(learner.judge, episodes)))


@pytest.mark.parametrize("steps", [0, 1])
def test_policies_in_float64_are_exact_under_a_float32_default(steps):
    torch.set_default_dtype(F64)
    learner, practice = practised(steps)
    episodes = practice.episodes[-1]
    found = []
    for default in (F64, torch.float32):
        torch.set_default_dtype(default)
        moved = copy.deepcopy(learner)
        assert moved.step(practice).accepted
        returns = discounted_returns(episodes)
        advantage = gae(episodes, 0.1 * returns, gae_lambda=0.95)
        judged = Judge(bootstrap=True)(episodes).advantage
        parameters = torch.cat([p.detach().flatten() for p in moved.parameters()])
        found.append([returns, advantage, judged, parameters])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype == F64
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def smooth(points, scale, kind):
    """A covariance of smooth functions, small noise and an outcome, in units of `scale`."""
    x = torch.linspace(0, 1, points, dtype=F64)
    function = torch.exp(-0.5 * ((x[:, None] - x[None]) / 0.4).square())
    noise = torch.full((2,), 1e-4, dtype=F64)
    chance = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(function + 1e-4 * torch.eye(points, dtype=F64))
    y = root @ torch.randn(2, points, 1, dtype=F64, generator=chance)
    covariance = function.expand(2, 1, points, points)
    parts = 0 * y, scale**2 * covariance, scale**2 * noise, scale * y
    return [part.to(kind) for part in parts]


def dense(scale, kind):
    mean, covariance, noise, y = smooth(6, scale, kind)
    return DenseGaussian(mean, covariance, noise), y


def low_rank(scale, kind):
    mean, _, _, y = smooth(6, scale, kind)
    factor = torch.linalg.cholesky(smooth(6, 1.0, F64)[1][:, 0] + 1e-6 * torch.eye(6, dtype=F64)).to(kind)
    return LowRankGaussian(mean, factor, (scale**2 * torch.ones(2, 1, dtype=F64)).to(kind)), y


def plain(scale, kind):
    mean, covariance, _, y = smooth(6, scale, kind)
    return Gaussian(mean, covariance.diagonal(dim1=2, dim2=3).mT), y


def mixture(scale, kind):
    mean, covariance, _, y = smooth(6, scale, kind)
    variance = covariance.diagonal(dim1=2, dim2=3).mT
    return GaussianMixture(torch.stack([mean, mean + y / 2]), torch.stack([variance, variance / 2])), y


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", [torch.float32, F64])
@pytest.mark.parametrize("make", [dense, low_rank, plain, mixture])
def test_units_shift_log_densities_and_nothing_else(make, kind, scale):
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, True]])
    (belief, y), (scaled, small) = make(1.0, kind), make(scale, kind)
    shift = math.log(scale) * mask.sum(1).to(kind)
    near = {"rtol": 1e-4, "atol": 2e-2} if kind == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for joint in (True, False):
        expected, found = belief.log_prob(y, mask, joint=joint), scaled.log_prob(small, mask, joint=joint)
        expected, found = (t if joint else t.sum(1) for t in (expected, found))
        assert found.dtype == kind
        torch.testing.assert_close(found + shift, expected, **near)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**50])
@pytest.mark.parametrize("kind", [torch.float32, F64])
def test_jitter_is_relative(kind, scale):
    """Powers of two change no digit, so that the same jitter must give the same digits."""
    _, covariance, noise, y = smooth(40, 1.0, kind)  # of rank far below 40
    factor = cholesky(covariance)
    assert torch.equal(cholesky(covariance * scale**2), factor * scale)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    belief = DenseGaussian(0 * y, covariance, 0 * noise)
    scaled = DenseGaussian(0 * y, covariance * scale**2, 0 * noise)
    shift = math.log(scale) * mask.sum(1).to(kind)
    found, expected = scaled.log_prob(y * scale, mask, joint=True), belief.log_prob(y, mask, joint=True)
    torch.testing.assert_close(found + shift, expected, rtol=1e-5, atol=1e-2)
    draws = [b.sample(3, torch.Generator().manual_seed(0), noise=False) for b in (belief, scaled)]
    assert torch.equal(draws[0] * scale, draws[1])


def test_one_matrix_of_a_batch_leaves_the_others_alone():
    singular, sound, nothing = torch.ones(3, 3, dtype=F64), torch.diag(torch.tensor([1.0, 1e-12, 2.0], dtype=F64)), 0.0
    together = cholesky(torch.stack([singular, sound, nothing * sound]))
    assert torch.equal(together[0], cholesky(singular))
    assert torch.equal(together[1], torch.linalg.cholesky(sound))
    assert together[2].abs().max() < 1e-140


@pytest.mark.parametrize("noise", [0.1, 1e-4, 0.0])
@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_gaussian_processes_in_other_units(noise, scale):
    x = torch.linspace(0, 1, 9, dtype=F64).view(1, 9, 1).repeat(2, 1, 1)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    at = torch.linspace(0.05, 0.95, 4, dtype=F64).view(1, 4, 1).expand(2, -1, -1)

    def posterior(unit):
        info = {"lengthscale": torch.tensor([0.3, 0.5], dtype=F64), "scale": torch.full((2,), unit, dtype=F64)}
        return ExactGP(Examples(x, unit * torch.sin(5 * x), mask), info | {"noise": noise * info["scale"]})

    one, other = posterior(1.0), posterior(scale)
    near = {"rtol": 1e-4, "atol": 1e-4}
    shift = math.log(scale)
    marginal = [gp.log_marginal_likelihood() for gp in (one, other)]
    torch.testing.assert_close(marginal[1] + shift * mask.sum(1).double(), marginal[0], **near)
    torch.testing.assert_close(other(at).mean / scale, one(at).mean, **near)
    values = [gp.functions(3, torch.Generator().manual_seed(0))(at) for gp in (one, other)]
    torch.testing.assert_close(values[1] / scale, values[0], rtol=1e-3, atol=1e-3)
    if noise:
        joint = [gp(at).log_prob(unit * torch.sin(5 * at), joint=True) for gp, unit in ((one, 1.0), (other, scale))]
        torch.testing.assert_close(joint[1] + 4 * shift, joint[0], **near)


@pytest.mark.parametrize("unit", [1e-10, 1e10])
def test_fitted_processes_and_last_layers_in_other_units(unit):
    torch.set_default_dtype(F64)
    x = torch.linspace(0, 1, 12, dtype=F64).view(1, 12, 1)
    y = torch.sin(3 * x) + 0.1 * torch.randn(1, 12, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    one, other = fit_gp(Examples(x, y)), fit_gp(Examples(x, unit * y), scale=(0.01 * unit, 100 * unit))
    for name in ("scale", "noise", "mean"):
        torch.testing.assert_close(other.info[name] / unit, one.info[name])
    network = qs.nets.MLP(1, [16], 8, activation="tanh")
    learners = [qs.ALPaCA(network, noise=0.1 * u) for u in (1.0, unit)]
    with torch.no_grad():
        learners[1].prior_scale.copy_(learners[0].prior_scale)  # K ~ N(0, u^2), in units of the noise as before
    joint = [
        a.adapt(Examples(x[:, :6], u * y[:, :6]))(x[:, 6:]).log_prob(u * y[:, 6:], joint=True)
        for a, u in zip(learners, (1.0, unit), strict=True)
    ]
    torch.testing.assert_close(joint[1] + 6 * math.log(unit), joint[0])


PROCESSES = {
    "CNP": lambda: qs.CNP(width=32),
    "latent": lambda: qs.NeuralProcess(width=32, latent=8, samples=4, paths="latent"),
    "both": lambda: qs.NeuralProcess(width=32, latent=8, samples=4),
    "deterministic": lambda: qs.NeuralProcess(width=32, paths="deterministic"),
}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PROCESSES)
def test_points_count_one_by_one_in_half_precision(name, kind):
    torch.manual_seed(0)
    process = PROCESSES[name]().to(kind)
    tasks = Lines().sample(2, support=600, query=20, generator=torch.Generator().manual_seed(0)).to(dtype=kind)
    support = Examples(tasks.support.x, tasks.support.y, torch.arange(600) < torch.tensor([[600], [520]]))
    whole = process.adapt(support, generator=torch.Generator().manual_seed(1))
    grown = process.adapt(support.first(1), generator=torch.Generator().manual_seed(1))
    for i in range(1, 600):
        grown = grown.append(Examples(support.x[:, i : i + 1], support.y[:, i : i + 1], support.mask[:, i : i + 1]))
    assert grown.state.seen.tolist() == [600, 520]
    belief, expected = grown(tasks.query.x), whole(tasks.query.x)
    assert belief.mean.dtype == kind
    torch.testing.assert_close(belief.mean, expected.mean, rtol=0.02, atol=0.02)
    model = grown.task(1)
    assert torch.equal(model(tasks.query.x[1]), belief.mean[1])


@pytest.mark.parametrize("name", ["CNP", "both"])
def test_sums_over_many_points_do_not_overflow(name):
    torch.manual_seed(0)
    process = PROCESSES[name]().half()
    with torch.no_grad():
        process.encoder.point.layers[-1].bias.add_(200.0)  # a sum over codes beyond 65504
        nn.init.zeros_(process.decoder.rest.layers[-1].weight)
        nn.init.zeros_(process.decoder.rest.layers[-1].bias)
    x = torch.linspace(-1, 1, 1000, dtype=torch.float16).view(1, -1, 1)
    many = Examples(x, x)
    belief = process.adapt(many)(x)
    assert bool(belief.mean.isfinite().all())
    far = x + 10  # a joint log density beyond -65504
    assert bool(belief.log_prob(far, joint=True).isfinite().all())
    assert bool(process.meta_loss(Tasks(many, Examples(x, far))).isfinite())
    assert bool(task_mean(torch.full((1, 1000), 100.0, dtype=torch.float16), torch.ones(1, 1000, dtype=bool)) == 100)


def test_masked_pretraining_weighs_many_points_in_half_precision():
    network = nn.Linear(1, 1, bias=False).half()
    nn.init.constant_(network.weight, 10.0)
    x, y = torch.ones(3, 400, 1, dtype=torch.float16), torch.zeros(3, 400, 1, dtype=torch.float16)
    points = Examples(x, y, torch.arange(400) < torch.tensor([[400], [300], [1]]))
    assert qs.Pretrained(network).meta_loss(Tasks(points, points)).item() == pytest.approx(100, rel=1e-3)
