"""Neural processes against their equations, computed the long way."""

import copy

import pytest
import torch
from learner_table import Lines
from torch.distributions import Independent, Normal, kl_divergence

from quickstudy.data import Examples
from quickstudy.processes.cnp import CNP
from quickstudy.processes.neural_process import NeuralProcess
from quickstudy.tasks import Sinusoid
from quickstudy.training.fit import fit


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("make", [CNP, NeuralProcess])
def test_the_first_losses_are_small_for_every_seed(make):
    """He weights in the last layer made the first loss 1e4, in the median."""
    family, losses = Sinusoid(), []
    for seed in range(20):
        torch.manual_seed(seed)
        batch = family.sample(25, support=10, query=10, generator=torch.Generator().manual_seed(seed))
        losses.append(make().meta_loss(batch).item())
    assert max(losses) < 12


@pytest.mark.parametrize("make", [CNP, NeuralProcess])
def test_plain_fit_is_soon_better_than_the_prior(make):
    """With nothing set: the density of a normal with the family's mean and variance is 2.1 nats."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="kept in memory"):
        run = fit(make(width=64), Sinusoid(), steps=300)
    assert run.metrics[-1]["validation_loss"] < 1.7


def tasks():
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [CNP, NeuralProcess])
def test_the_state_is_what_adapt_keeps(make):
    process, batch = make(width=8), tasks()
    x, y, chance = batch.query.x, batch.query.y, torch.Generator
    draws = {} if make is CNP else {"generator": chance().manual_seed(1)}
    state = process.encode(batch.support)
    whole = process.adapt(batch.support, generator=chance().manual_seed(1))
    found = process.predict(state, x, **draws)
    assert torch.equal(found.log_prob(y), whole(x).log_prob(y))
    first = process.encode(batch.support.first(2))
    rest = Examples(batch.support.x[:, 2:], batch.support.y[:, 2:])
    later = process.append(first, rest)
    for one, other in zip(later, state, strict=True):
        torch.testing.assert_close(one, other)
    assert len(first.seen) == 3 and first.seen.eq(2).all()  # unchanged
    with pytest.raises(ValueError, match="3 tasks"):
        process.predict(state, x[:2], **draws)


def parts(process, batch):
    """q(z | support), q(z | support and query) and p(y | z), as torch distributions."""

    def belief(examples):
        latent = process.latent_belief(process.encoder.encode(examples))
        return Independent(Normal(latent.mean, latent.sd), 1)

    def fit(z):
        mean, raw = process.member_outputs(process.encoder.encode(batch.support), z, batch.query.x).chunk(2, -1)
        return Normal(mean, 1e-3 + raw.exp().log1p()).log_prob(batch.query.y).sum((-2, -1))

    return belief(batch.support), belief(batch.support.append(batch.query)), fit


def draws(distribution, n):
    torch.manual_seed(7)
    mean = distribution.base_dist.loc
    return mean + distribution.base_dist.scale * torch.randn(n, *mean.shape)


@pytest.mark.parametrize("paths", ["latent", "both"])
def test_objectives_are_their_equations(paths):
    batch = tasks()
    for objective in ("elbo", "iwae", "ml"):
        process = NeuralProcess(width=16, latent=4, paths=paths, objective=objective, train_samples=6)
        prior, posterior, fit = parts(process, batch)
        z = draws(prior if objective == "ml" else posterior, 6)
        expected = {
            "elbo": lambda: fit(z).mean(0) - kl_divergence(posterior, prior),
            "iwae": lambda: (fit(z) + prior.log_prob(z) - posterior.log_prob(z)).exp().mean(0).log(),
            "ml": lambda: fit(z).exp().mean(0).log(),
        }[objective]()
        torch.manual_seed(7)
        torch.testing.assert_close(process.meta_loss(batch), -(expected / 4).mean())


def test_the_bounds_are_in_order():
    """Over the same latents, the importance-weighted bound lies above the single-sample one (Burda et al. 2015)."""
    losses = {}
    for objective in ("elbo", "iwae"):
        torch.manual_seed(0)
        process = NeuralProcess(width=16, latent=4, objective=objective, train_samples=512)
        torch.manual_seed(1)
        losses[objective] = process.meta_loss(tasks()).item()
    assert losses["iwae"] < losses["elbo"]


def test_cnp_loss_is_the_negative_log_likelihood():
    process, batch = CNP(width=16), tasks()
    belief = process.adapt(batch.support)(batch.query.x)
    torch.testing.assert_close(process.meta_loss(batch), -belief.log_prob(batch.query.y).mean())


def test_more_samples_average_over_more_latents():
    process, batch = NeuralProcess(width=16, latent=4, samples=30), tasks()
    predictor = process.adapt(batch.support, generator=torch.Generator().manual_seed(0))
    belief = predictor(batch.query.x)
    assert belief.means.shape == (30, 3, 4, 1)
    functions = predictor.functions(2000, torch.Generator().manual_seed(1))(batch.query.x)
    spread = functions.std(0) / 30**0.5
    assert ((functions.mean(0) - belief.mean).abs() < 5 * spread).all()


def test_the_floor_is_the_smallest_standard_deviation():
    for process in (CNP(width=16, sigma_floor=0.1), NeuralProcess(width=16, sigma_floor=0.1)):
        with torch.no_grad():
            process.decoder.rest.layers[-1].bias.fill_(-100.0)
        belief = process.adapt(tasks().support)(tasks().query.x)
        variances = belief.variance if isinstance(process, CNP) else belief.variances
        torch.testing.assert_close(variances, torch.full_like(variances, 0.01))


def test_wider_inputs_and_outputs():
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    for process in (CNP(3, 2, width=16), NeuralProcess(3, 2, width=16)):
        assert process.adapt(Examples(x, y))(x).mean.shape == (2, 5, 2)
        with pytest.raises(ValueError, match="dx=3"):
            process.adapt(Examples(x[..., :1], y))
        with pytest.raises(ValueError, match="dy=2"):
            process.adapt(Examples(x, y[..., :1]))
        with pytest.raises(ValueError, match="dy=2"):
            process.adapt(Examples(x, torch.zeros(2, 5, dtype=torch.long)))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"latent": -1},
        {"paths": "all"},
        {"objective": "vae"},
        {"samples": 0},
        {"decoder_depth": 1},
        {"sigma_floor": -1.0},
    ],
)
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NeuralProcess(**options)


@pytest.mark.parametrize("make", [lambda: CNP(width=8), lambda: NeuralProcess(width=8, latent=4, samples=3)])
def test_a_task_is_a_module_of_its_own(make):
    process, batch = make(), tasks()
    predictor = process.adapt(batch.support, generator=torch.Generator().manual_seed(0))
    one, two = predictor.task(0), predictor.task(-1)
    torch.testing.assert_close(two(batch.query.x[2]), predictor(batch.query.x).mean[2])
    one.load_state_dict(two.state_dict())
    torch.testing.assert_close(one(batch.query.x[2]), two(batch.query.x[2]))
    one.float()
    assert next(process.parameters()).dtype == torch.float64
    assert one(batch.query.x[0].float()).dtype == torch.float32
    kept = process.adapt(batch.support, create_graph=True).task(1)
    assert copy.deepcopy(kept)(batch.query.x[1]).requires_grad
    with pytest.raises(IndexError, match="tasks 0 to 2"):
        predictor.task(3)


@pytest.mark.parametrize("make", [lambda: CNP(width=8), lambda: NeuralProcess(width=8, latent=4, samples=3)])
def test_the_graph_is_kept_only_when_asked(make):
    process, batch = make(), tasks()
    assert not process.adapt(batch.support)(batch.query.x).mean.requires_grad
    x = batch.query.x.clone().requires_grad_()
    process.adapt(batch.support)(x).mean.sum().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in process.parameters())
    process.adapt(batch.support, create_graph=True)(batch.query.x).log_prob(batch.query.y).sum().backward()
    assert all(p.grad is not None for p in process.parameters())


@pytest.mark.parametrize("make", [lambda: CNP(width=8), lambda: NeuralProcess(width=8, latent=4, samples=3)])
def test_what_processes_refuse(make):
    process, batch = make(), tasks()
    prior = process.adapt(batch.support, steps=0, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.append(batch.query)(batch.query.x).mean, prior(batch.query.x).mean)
    predictor = process.adapt(batch.support)
    for steps in (-1, 1.5):
        with pytest.raises(ValueError, match="steps="):
            process.adapt(batch.support, steps=steps)
    with pytest.raises(TypeError, match="torch.Generator"):
        process.adapt(batch.support, generator=0)
    with pytest.raises(ValueError, match=r"expects \[3, M, 1\]"):
        predictor.append(batch.query.select(0))
    with pytest.raises(TypeError, match="float32"):
        predictor(batch.query.x.float())
    with pytest.raises(TypeError, match=r"x.float\(\)"):
        process.adapt(Examples(batch.support.x.long(), batch.support.y))
    if isinstance(process, NeuralProcess):
        with pytest.raises(ValueError, match="n=-1"):
            predictor.functions(-1)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (
            (3, 4, 1, 8, 8),
            (3, 4, 1),
            r"\[3, 4, 1, 8, 8\].*flatten those of each point: support\.x\.flatten\(2\), and build",
        ),
        ((3, 4, 2), (3, 4, 1), r"built with dx=1 and expects floats \[T, N, 1\]; build the process with dx=2"),
        (
            (3, 4, 1),
            (3, 4, 2, 2),
            r"support\.y is torch\.float.*built with dy=1 .*support\.y\.flatten\(2\), .* dy=4",
        ),
        (
            (3, 4, 1),
            None,
            r"support\.y is torch\.int64 .*head=qs\.heads\.CategoricalHead\(classes\), or take a learner",
        ),
    ],
)
def test_data_of_another_shape_are_answered_with_what_to_do(x, y, says):
    outputs = torch.zeros(3, 4, dtype=torch.long) if y is None else torch.rand(y)
    for process in (CNP(width=8), NeuralProcess(width=8)):
        with pytest.raises(ValueError, match=says):
            process.adapt(Examples(torch.rand(x), outputs))
